"""Judges of replies, answers in them, metrics with intervals."""
