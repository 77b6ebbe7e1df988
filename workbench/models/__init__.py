"""Load a causal LM: one anatomy for every family, prompts, hooks, limits, checkpoints."""
