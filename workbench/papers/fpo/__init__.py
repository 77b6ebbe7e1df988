"""FPO: preference optimisation held back in the space of SAE features (arXiv 2411.07618).

Read `losses` (the seven losses), `distance` (D with its one gradient), `reference` and
`reference_cache` (the reference on disk), `trainer` and `config` (TRL's, with all of these),
`evaluate` and `costs`, `train` (one training), then `study`, `tables`, `figures`; `launch` is the
trainer's command line.
"""
