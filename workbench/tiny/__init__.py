"""The workshop that makes the embedded models and samples in `data/`."""
