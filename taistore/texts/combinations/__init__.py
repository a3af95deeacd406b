"""Which labels meet in a text."""
