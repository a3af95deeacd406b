"""Images made from the store's texts: writers, their vectors, and how faithful they are."""
