"""The encoder whose weights come inside installed packages; it needs no model hub."""
