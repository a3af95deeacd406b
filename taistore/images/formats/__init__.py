"""Formats of photos: how pixels become upright RGB, and what Pillow does not read by itself."""
