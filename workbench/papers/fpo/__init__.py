"""FPO: preference optimisation held back in the space of SAE features (arXiv 2411.07618).

`config` and `trainer` are TRL's with seven losses (`losses`); `drift` is the feature distance with
its one gradient; `cache` and `offline` the reference on disk; `pairs` what is refused.
"""
