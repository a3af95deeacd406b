"""What is wrong in a store, found by reading all of it, and what mends it."""
