"""Thresholds with a stated precision, and probabilities, fitted to labelled images."""
