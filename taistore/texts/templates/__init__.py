"""Captions from sentence patterns, offline."""
