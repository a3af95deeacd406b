"""How rows of a table are read in a shuffled order, ahead of who takes them."""
