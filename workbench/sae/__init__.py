"""SAE features: load, check, encode, compare two models feature by feature."""
