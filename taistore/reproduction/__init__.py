"""The paper's tables: which sets and settings they need, and their figures beside ours."""
