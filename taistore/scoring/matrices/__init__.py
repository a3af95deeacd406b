"""Whole score matrices in files: those of a run go out, those of other systems come in."""
