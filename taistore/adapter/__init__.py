"""The adapter: network, loss, training and checkpoints."""
