"""Data sets in the layouts that they are published in."""
