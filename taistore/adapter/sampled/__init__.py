"""Training steps that look at a sample of the labels, for label sets where all would cost most."""
