"""One HTML file to look at tags."""
