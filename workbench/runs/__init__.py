"""Run a notebook with parameters in a folder of its own; record what came out."""
