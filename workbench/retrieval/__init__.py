"""Evidence: questions with the facts that answer them, as a graph; indexes, rankers, metrics.

Read `graphs` (the one schema), `evidence_files`, `predictions`, `shapes`, `metrics`, `search`,
`lexical`, `index`, `iterate`, `towers`, `steps`, `nearest`, `growing`, `explain`.
"""
