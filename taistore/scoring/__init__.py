"""Scores: the ladder from zero-shot to ensemble, batch scoring, the page to look at."""
