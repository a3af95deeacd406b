"""What the settings of a training may be, and how they come from the paper or from a file."""
