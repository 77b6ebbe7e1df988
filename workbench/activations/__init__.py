"""Capture activations, in memory or in shards, and fit probes on them."""
