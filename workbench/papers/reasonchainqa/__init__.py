"""ReasonChainQA: questions answered by an explicit chain of facts (arXiv 2210.08763).

Read in this order: `paper` (what it claims), `retrievers.paths` (the network that reads a chain),
`single` (what ranks by one query, or reads on, untrained), `networks`; `study` runs it all;
`answering` and `programs` say what evidence is worth to a reader; `databases` and `handwritten` ask
a real encoder.
"""
