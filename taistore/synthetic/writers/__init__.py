"""Where pictures of texts come from."""
