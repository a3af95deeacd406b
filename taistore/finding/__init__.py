"""Photos found by a text, by another photo or by labels, and all that is known of one photo."""
