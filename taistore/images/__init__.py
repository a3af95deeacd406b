"""Photos and what is known about them: sources, decoding, ingest."""
