"""Graph-hop: questions answered with the graph of facts that answers them (arXiv 2305.14211).

Read in this order: `paper` (what it claims), `model` (a state that scores facts and reads one),
`train`, `search` and `fuse` (the method), `baselines`, `readers`; `study` runs it all.
"""
