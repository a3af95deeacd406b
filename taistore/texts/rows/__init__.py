"""Rows of texts and of their vectors, written once."""
