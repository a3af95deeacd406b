"""What a training reads beside its texts: where images lie, and synthetic images."""
