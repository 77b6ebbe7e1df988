"""One engine for a local model and an OpenAI-compatible server; every sample is drawn once."""
