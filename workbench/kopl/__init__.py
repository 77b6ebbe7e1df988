"""Programs of KoPL over a knowledge base in KQA Pro's form, and the facts that each reads.

In the order of reading: values, knowledge, functions, trace, sentences, rebuild.
"""
