"""How good the tags are: metrics, the evaluation job and its report."""
