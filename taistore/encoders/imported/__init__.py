"""Vectors that were made elsewhere: their file layouts and their rows."""
