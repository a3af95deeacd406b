"""What differs between the tags of two runs: per image, per label, as a file and as a page."""
