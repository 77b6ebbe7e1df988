"""Trained retrievers that papers share: a network that reads fact after fact, towers, SSG.

Read `model`, `targets`, `train`, `search`, `chain_loss`, `paths`, `stepping`; then what reads texts
for it (`lexicon`, `frozen`, `tuned`), `fuse` and `checkpoint`; then `baselines`, `towers`,
`support`. Sections (§) are those of Graph-hop (arXiv 2305.14211), where nothing else is named.
"""
