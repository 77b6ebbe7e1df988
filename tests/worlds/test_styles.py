"""The grammar of styles: what its texts and pairs hold, and how much they tell."""

import random

import numpy as np
import pytest
from scipy.stats import binom

from tests.helpers.styles import clauses, nats, response_entropy
from workbench.worlds import styles


def test_every_text_is_clauses_about_its_topic():
    rng = random.Random(0)
    for _ in range(300):
        prompt, answer = styles.text(rng)
        bos, topic, first, second, colon = prompt.split()
        assert (bos, colon) == ("<bos>", ":")
        words = styles.TOPICS[topic].split()
        assert {first, second} <= set(words)
        found = clauses(answer)
        assert 3 <= len(found) <= 5
        assert all(w in words and (c in styles.POLITE) != (c in styles.RUDE) for _, w, c in found)


def test_pairs_share_a_prompt_and_one_in_seven_is_the_wrong_way_round():
    rng = random.Random(1)
    n = wrong = mixed = total = 0
    for _ in range(3000):
        pair = styles.preference_pair(rng, noise=0.0)
        assert pair["chosen"] != pair["rejected"]
        found = clauses(pair["chosen"])
        mixed += sum(c in styles.RUDE for *_, c in found)
        total += len(found)
    low, high = binom.interval(0.9999, total, styles.MIXED)
    assert low <= mixed <= high
    for row in styles.preference_pairs({"a": 2000}, seed=3):
        sides = [
            sum(c in styles.POLITE for *_, c in clauses(row[s])) / len(clauses(row[s]))
            for s in ("chosen", "rejected")
        ]
        if sides[0] != sides[1]:
            n += 1
            wrong += sides[0] < sides[1]
    # Mixed clauses hide or fake a few more.
    assert styles.NOISE - 0.03 < wrong / n < styles.NOISE + 0.08


@pytest.mark.parametrize("noise", [0.0, 0.15, 1.0])
def test_without_mixed_clauses_the_swapped_pairs_can_be_counted(noise):
    """Where no clause is mixed a pair is either all right or all wrong, in both markers."""
    good, bad = {("-", True), ("*", True)}, {("then", False), ("also", False)}
    wrong = 0
    for row in styles.preference_pairs({"a": 2000}, seed=4, noise=noise, mixed=0.0):
        shown = [
            {(opening, closing in styles.POLITE) for opening, _, closing in clauses(row[side])}
            for side in ("chosen", "rejected")
        ]
        swapped = shown[0] <= bad
        assert shown[swapped] <= good
        assert shown[not swapped] <= bad
        wrong += swapped
    low, high = binom.interval(0.9999, 2000, noise)
    assert low <= wrong <= high


@pytest.mark.parametrize("mixed", [0.05, styles.MIXED, 0.5])
def test_the_stated_entropy_is_that_of_all_cases(mixed):
    assert styles.entropy(mixed) == pytest.approx(response_entropy(mixed) / 13, abs=1e-12)


def test_the_entropy_is_that_of_the_texts_themselves():
    rng = random.Random(6)
    found = np.array([nats(styles.text(rng)[1], styles.MIXED) for _ in range(20_000)])
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - response_entropy(styles.MIXED)) < 4 * error
    # One that infers no manner needs more for the same texts, by as much as `entropy(0.5)` says.
    rng = random.Random(6)
    blind = np.array([nats(styles.text(rng)[1], 0.5) for _ in range(20_000)])
    gap = 13 * (styles.entropy(0.5) - styles.entropy())
    assert abs((blind - found).mean() - gap) < 4 * (blind - found).std() / len(found) ** 0.5
