"""What of the paper needs no data: counts of networks, the cost of a step."""
