"""Answers that are the same, and answers that are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.retrieval.answers import answer_exact, normalised

SAME = [
    ("The Quiet Mill", "quiet mill."), ("1,234", "1234"), ("1234", "1234.0"), ("007", "7"),
    ("-3", "-3.00"), ("0", "-0"), ("yes", "Yes!"), ("Ada's Gate", "adas gate"),
    ("Müller", "MU\u0308LLER"), ("850", "850."), ("12 May 850", "12 may, 850"), ("３", "3"),
    ("1,234,567.50", "1234567.5"), ("0.5", ".5"), ("a gate", "an gate"),
]  # fmt: skip
OTHER = [
    ("1234", "1,23,4"), ("1", "10"), ("10", "1"), ("3", "-3"), ("1.5", "15"), ("yes", "no"),
    ("Ada Bel", "Bel Ada"), ("Ada Bel", "Ada"), ("", ""), ("", "the"), ("the", "the"),
    ("1200", "The answer: 1200"), ("Dorla", "Dorlas"), ("5", "five"), ("1,5", "15"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "predicted"), SAME)
def test_same(gold, predicted):
    assert answer_exact(gold, predicted) == answer_exact(predicted, gold) == 1


@pytest.mark.parametrize(("gold", "predicted"), OTHER)
def test_other(gold, predicted):
    assert answer_exact(gold, predicted) == answer_exact(predicted, gold) == 0


@given(st.integers(-(10**15), 10**15))
def test_a_number_is_its_value_however_it_is_written(number):
    for written in (f"{number}", f"{number:,}", f"{number}.0", f" {number:,}.00 "):
        assert normalised(written) == str(number)


@given(st.text())
def test_what_is_normalised_stays(text):
    assert normalised(normalised(text)) == normalised(text)
