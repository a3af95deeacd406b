"""Copies to and from a GPU while it works."""
