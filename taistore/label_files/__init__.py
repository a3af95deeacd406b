"""Files of labels: lines of text, tables, and what in them is no label."""
