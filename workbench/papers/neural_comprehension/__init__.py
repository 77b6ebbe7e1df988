"""Neural Comprehension: networks written by a compiler give a language model exact symbols.

Read in this order: `language` (what a program is), `reference` (what it means), `programs`, `tasks`
and `gallery`; then `domains`, `layers`, `compiler` and `network` (how it becomes weights), and
`certificate` (where these are right). `published_networks` reads the authors' own; `rules` and
`gate` let a network's answer come from a language model's mouth; `study` is the paper.
"""
