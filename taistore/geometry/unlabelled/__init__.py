"""What unlabelled images of a store tell."""
