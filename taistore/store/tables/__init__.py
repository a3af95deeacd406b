"""What lies in a store: its Lance tables by name, and what those of labels and encoders say."""
