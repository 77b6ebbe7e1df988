"""Self-Verification: an answer is kept if the question's conditions follow from it (2212.09561).

`conditions` finds what can be masked, `prompts` words every stage, `verify` runs them, `extract`
reads answers, `study` sets the method beside voting at equal cost.
"""
