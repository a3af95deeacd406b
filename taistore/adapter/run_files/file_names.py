"""Names of the files in a run's folder; who only looks for them need not load torch."""

WEIGHTS = "adapter.safetensors"
PROMPTS = "prompts.safetensors"
LEARNER = "learner.safetensors"
DISCRIMINANT = "discriminant.safetensors"
CARD = "card.json"
STATE = "training-state.safetensors"
"""Of a training under way."""
