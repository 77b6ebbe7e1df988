"""Graph-hop: questions answered with the graph of facts that answers them (arXiv 2305.14211).

Read in this order: `paper` (what it claims), `retrievers` (the method: a state that scores facts
and reads one), `baselines` there, `readers`; `study` runs it all.
"""
