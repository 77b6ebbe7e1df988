"""Training steps that papers share: preference pairs, adapters, supervised stages, resuming."""
