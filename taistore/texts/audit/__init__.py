"""What a caption is worth: unwrapped, checked, counted."""
