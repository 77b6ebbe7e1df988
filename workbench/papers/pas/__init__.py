"""PAS: aligning a model to one person's questionnaire by activation search (arXiv 2408.11779).

`extract` captures what answering "Very Accurate" and "Very Inaccurate" looks like, once for all
subjects; `personas` turns everybody's answers into directions; `search` finds how strongly to
steer; `reference` holds the predictors that need no model; `dpo` and `prompts` the rivals.
"""
