"""ReasonChainQA: questions answered by an explicit chain of facts (arXiv 2210.08763).

Read in this order: `paper` (what it claims), `retrievers.paths` (the network that reads a chain),
`single` and `steps` (what ranks by one query, and what reads on), `networks`; `study` runs it all;
`answering` and `programs` say what evidence is worth to a reader.
"""
