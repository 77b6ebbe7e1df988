"""Self-Verification: an answer is kept if the question's conditions follow from it (2212.09561).

Read `paper` (claim, tables, settings), then the method in its order: `conditions` finds what can be
masked, `prompts` words every stage, `verify` runs them, `decision` scores and chooses. `study` sets
the method beside voting at equal cost, `parsers` three readings of its replies beside each other;
`tables` and `figures` show what came out.
"""
