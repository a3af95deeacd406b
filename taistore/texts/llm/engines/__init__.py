"""Chat engines: an OpenAI-compatible server, vLLM in this process, a small local server."""
