"""Dual encoders: images and texts into one embedding space."""
