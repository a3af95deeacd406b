"""Prompt learners on the vectors of a store: CoOp, DualCoOp, TaI-DPT, T2I-PAL."""
