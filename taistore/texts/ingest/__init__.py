"""Captions and text vectors that people already have."""
