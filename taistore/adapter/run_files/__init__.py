"""What a run keeps on disk: its folder, weights, card, known labels, state."""
