"""Score steps: of zero-shot and an adapter, of prompts, and how labels compete."""
