"""Texts: sampled label combinations, writers that put them into words, captions read in."""
