"""Readers that papers share: question and evidence in, answer out.

Read `marks` (how evidence is told), `trained` (an encoder–decoder), `prompts` (a language model).
"""
