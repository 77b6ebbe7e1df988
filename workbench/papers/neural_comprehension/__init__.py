"""Neural Comprehension: networks written by a compiler give a language model exact symbols.

Read in this order: `language` (what a program is), `reference` (what it means), `programs` and
`tasks`; then `domains`, `layers`, `compiler` and `network` (how it becomes weights).
"""
