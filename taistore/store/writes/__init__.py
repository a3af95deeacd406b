"""What writes a table: commits that lose nothing, and rows made from what is there."""
