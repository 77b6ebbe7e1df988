"""PAS: aligning a model to one person's questionnaire by activation search (arXiv 2408.11779).

Read `paper` (claim, settings, published values) and `presets`; then the method: `prompts` (every
text a model is shown), `contrast` (activations of agreeing and disagreeing, captured once for all),
`personas` (everybody's answers as directions), `answer` (how a model answers statements), `search`
(how strongly to steer), `reference` (predictors that need no model), `profile` (trait levels to
answers and back), `scores` (errors of every method); then `study`, `tables`, `figures`.
"""
