"""Readers: preference pairs, problems, questionnaires and the people who answered them."""
