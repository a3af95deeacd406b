"""Points of the embedding space: perturbation, and later centroids, offsets and neighbours."""
