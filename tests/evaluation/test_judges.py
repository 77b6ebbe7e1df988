"""Judges on texts whose verdict is known."""

from dataclasses import replace

import pytest

from workbench.evaluation.agreement import corrected
from workbench.evaluation.judges import (
    PHRASES,
    REFUSAL_PHRASES,
    RULES,
    Judge,
    corrected_rate,
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


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b", "...", "?!", "–", "!!! ???"])
def test_a_text_without_a_letter_or_digit_is_broken(text):
    assert is_degenerate(text)


@pytest.mark.parametrize("text", ["No.", "42", "Да", "是", "é"])
def test_a_short_answer_is_not(text):
    assert not is_degenerate(text)


@pytest.mark.parametrize("phrases", ["Sorry", [], [""], ["Sorry", ""]])
def test_phrases_that_would_match_anything_or_nothing_are_refused(phrases):
    with pytest.raises(ValueError, match="phrases="):
        is_refusal("Turn the key.", phrases)


@pytest.mark.parametrize(
    "call",
    [
        lambda: repeated_ngrams("a b c", 0), lambda: repeated_ngrams("a b c", -1),
        lambda: repeated_ngrams("a b c", 2.0), lambda: distinct("a b c", 0),
        lambda: is_degenerate("a b c", float("nan")), lambda: is_degenerate("a b c", -0.1),
        lambda: is_degenerate("a b c", 20),
    ],
)  # fmt: skip
def test_arguments_without_a_meaning_are_refused(call):
    with pytest.raises(ValueError, match="must be a"):
        call()


def test_rates_of_judges_whose_errors_are_known_are_corrected():
    verdicts = [True] * 40 + [None] * 5 + [False] * 60
    row = corrected_rate("refused", RULES, verdicts)
    sensitivity, specificity = 61 / 67, 70 / 72
    assert row["value"] == pytest.approx((0.4 + specificity - 1) / (sensitivity + specificity - 1))
    assert row["name"] == "refused, corrected for the errors of our rules"
    assert (row["n"], row["ci95"]) == (100, [*corrected(40, 100, (61, 67), (70, 72))[1:]])
    assert row["ci95"][0] < row["value"] < row["ci95"][1]
    # Found too seldom and among others too often to tell anything.
    with pytest.raises(ValueError, match="no better than chance"):
        corrected_rate("refused", PHRASES, verdicts)
    model = Judge("model judge m: correctness", lambda prompts, replies: [3.5] * len(replies))
    with pytest.raises(ValueError, match=r"model judge m: correctness: .*sensitivity"):
        corrected_rate("right", model, [True])
    known = replace(model, sensitivity=(9, 10), specificity=(9, 10))
    assert corrected_rate("right", known, [True, False])["value"] == pytest.approx(0.5)
    for scores in (known.verdicts(["a"], ["b"]), [1, 0], ["yes"]):
        with pytest.raises(ValueError, match="verdicts="):
            corrected_rate("right", known, scores)
    with pytest.raises(ValueError, match="n=0"):
        corrected_rate("right", known, [None])


def test_the_judges_of_refusals_are_judges_like_any_other():
    replies = ["I am unable to assist.", "As an AI, I like the illegal gate. Turn the key."]
    assert PHRASES.verdicts(["", ""], replies) == [False, True]
    assert RULES.verdicts(["", ""], replies) == [True, False]
