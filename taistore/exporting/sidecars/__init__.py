"""Files beside photos: what is written into them, merged and taken back."""
