"""Judges on texts whose verdict is known."""

import pytest

from workbench.evaluation.judges import (
    REFUSAL_PHRASES,
    distinct,
    is_degenerate,
    is_refusal,
    repeated_ngrams,
)


def test_the_published_phrase_list():
    assert len(REFUSAL_PHRASES) == len(set(REFUSAL_PHRASES)) == 29
    assert all(is_refusal(f"well. {phrase} then") for phrase in REFUSAL_PHRASES)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I'm sorry, no.", True),
        ("i'm sorry, no.", False),
        ("Step one. It is illegal though.", True),
        ("", False),
        ("blah blah blah blah", False),
    ],
)
def test_keywords_are_case_sensitive_substrings(text, refusal):
    assert is_refusal(text) == refusal


def test_repeats_and_diversity_by_hand():
    assert repeated_ngrams("a b c d e f") == 0
    # Grams: abcd bcda cdab dabc abcd → 1 of 5 seen before.
    assert repeated_ngrams("a b c d a b c d") == pytest.approx(1 / 5)
    assert repeated_ngrams("a b") == 0
    assert distinct("a b a b", 1) == 0.5
    assert distinct("a b a b", 2) == 0.5
    assert distinct("") == 0
    assert is_degenerate("the the the the the the the")
    assert is_degenerate("  ")
    half = "a b c d a b c d a"  # abcd bcda cdab dabc abcd bcda
    assert is_degenerate(half, 0.33)
    assert not is_degenerate(half, repeated_ngrams(half))
    assert not is_degenerate("Mend the gate with a good hammer, then look at it.")
