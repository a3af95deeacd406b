"""Captions by language models: conversations, what is left to ask, chat engines."""
