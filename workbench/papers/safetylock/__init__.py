"""SafetyLock: re-aligning fine-tuned models with per-head activation shifts (arXiv 2410.10343).

`lock` finds the directions in a base model, `attack` makes fine-tuned descendants that lost their
refusals, `evaluate` measures both, with the controls the claim needs.
"""
