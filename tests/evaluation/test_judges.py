"""Judges on texts whose verdict is known; intervals against their theory."""

import numpy as np
import pytest

from workbench.evaluation.judges import (
    REFUSAL_PHRASES,
    distinct,
    is_degenerate,
    is_refusal,
    repeated_ngrams,
)
from workbench.evaluation.metrics import bootstrap_ci, metric


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
    assert not is_degenerate("Mend the gate with a good hammer, then look at it.")


def test_interval_covers_the_mean_about_as_often_as_it_says():
    """One group: the percentile bootstrap of a mean is close to the normal interval."""
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_ci([values])
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_interval_holds_the_spread_over_seeds():
    seeds = [[0.0] * 50, [1.0] * 50, [0.5] * 50]
    low, high = bootstrap_ci(seeds)
    assert (low, high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_ci([[]])


def test_metric_refuses_values_outside_their_interval():
    assert metric("a", 0.5, 4, (0.4, 0.6))["ci95"] == [0.4, 0.6]
    for value in (0.7, float("nan")):
        with pytest.raises(ValueError, match="outside its interval"):
            metric("a", value, 4, (0.4, 0.6))
