"""What is a number, a list, a label anywhere in the house, and what is refused by name."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.arguments import (
    binary,
    different,
    finite,
    indices,
    listed,
    numbered,
    one_of,
    truth,
    whole,
)
from workbench.errors import FeatureError

NO_NUMBER = (
    True,
    False,
    np.True_,
    "3",
    None,
    math.nan,
    [3],
    np.array([3]),
    3j,
    torch.ones(1),
)


@pytest.mark.parametrize(
    "value",
    [*NO_NUMBER, 3.0, np.float32(3), torch.tensor(3.0), math.inf],
    ids=lambda v: f"{type(v).__name__}",
)
def test_what_is_no_whole_number(value):
    with pytest.raises(FeatureError, match=r"^k=.* it must be a whole number at least 1 and at mo"):
        whole("k", value, 1, 9, FeatureError)


@pytest.mark.parametrize(
    "value",
    [*NO_NUMBER, math.inf, -math.inf, 10**400, Fraction(1, 2)],
    ids=lambda v: f"{type(v).__name__}",
)
def test_what_is_no_finite_number(value):
    with pytest.raises(FeatureError, match=r"^lr=.* it must be a finite number above 0"):
        finite("lr", value, above=0, error=FeatureError)


@given(st.integers(-5, 15), st.sampled_from([int, np.int64, np.int8, torch.tensor]))
def test_whole_numbers_are_pythons_own_and_in_range(value, kind):
    if 1 <= value <= 9:
        number = whole("k", kind(value), 1, 9)
        assert number == value
        assert type(number) is int
    else:
        with pytest.raises(ValueError, match=r"^k=.*: it must be .* at least 1 and at most 9$"):
            whole("k", kind(value), 1, 9)


@given(st.floats(-2, 2, width=32), st.sampled_from([float, np.float32, torch.tensor]))
def test_finite_numbers_are_pythons_own_and_in_range(value, kind):
    for inside, bounds in (
        (0 <= value <= 1, {"least": 0, "most": 1}),
        (0 < value <= 1, {"above": 0, "most": 1}),
        (0 <= value < 1, {"least": 0, "below": 1}),
    ):
        if inside:
            number = finite("p", kind(value), **bounds)
            assert number == value
            assert type(number) is float
        else:
            with pytest.raises(ValueError, match=r"^p=.*: it must be a finite number"):
                finite("p", kind(value), **bounds)


@pytest.mark.parametrize("values", ["ab", b"ab", {"a": 1}, 5, None, torch.tensor(5), [], iter(())])
def test_what_is_no_list(values):
    with pytest.raises(ValueError, match="layers"):
        listed("layers", values)


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array, torch.tensor, pd.Series])
def test_lists_come_in_many_kinds(kind):
    assert listed("layers", kind([1, 0])) == [1, 0]
    assert indices("layers", kind([1, 0]), 2) == [1, 0]
    assert binary("labels", kind([1, 0]), 2) == [1, 0]
    assert numbered("groups", kind([7, 3, 7]), 3) == [1, 0, 1]


@pytest.mark.parametrize("values", [[-1], [2], [0, 0], [0.0], [True], ["0"], [[0]], 0, []])
def test_what_are_no_indices(values):
    with pytest.raises(FeatureError, match="layers"):
        indices("layers", values, 2, FeatureError)


LABELS = {
    "another class": [0, 1, 2, 1], "from 1": [1, 2, 1, 2], "signs": [-1, 1, -1, 1],
    "one class": [1, 1, 1, 1], "too few": [0, 1, 1], "too many": [0, 1, 1, 0, 1],
    "text": ["0", "1", "1", "0"], "missing": [0, 1, None, 1], "NaN": [0, 1, math.nan, 1],
    "halves": [0, 0.5, 1, 1], "columns": [[0], [1], [1], [0]], "one text": "0110", "a number": 4,
}  # fmt: skip


@pytest.mark.parametrize("values", LABELS.values(), ids=LABELS)
def test_what_are_no_labels(values):
    with pytest.raises(FeatureError, match="labels"):
        binary("labels", values, 4, FeatureError)


def test_truths_and_floats_that_are_0_or_1_are_labels():
    assert binary("labels", [True, np.False_, 1.0, torch.tensor(0)], 4) == [1, 0, 1, 0]


@pytest.mark.parametrize("values", [[1, 2], [1, None, 2], [1, math.nan, 2], ["a", 1, "b"], "abc"])
def test_what_are_no_groups(values):
    with pytest.raises(ValueError, match="groups"):
        numbered("groups", values, 3)


def test_groups_may_be_named():
    assert numbered("groups", ["b", "a", "b"], 3) == [1, 0, 1]
    assert numbered("groups", [2.0, 10, 2], 3) == [0, 1, 0]


def test_twice_is_named():
    assert different("heads", [(0, 1), (1, 0)]) == [(0, 1), (1, 0)]
    with pytest.raises(ValueError, match=r"heads: \(0, 1\) is there twice"):
        different("heads", [(0, 1), (1, 0), (0, 1)])


def test_a_number_too_long_to_write_is_refused_all_the_same():
    with pytest.raises(ValueError, match="k=a very long int"):
        whole("k", 10**5000, 1, 9)


@pytest.mark.parametrize("value", [0, 1, 1.0, "True", "", None, [True], np.array([True])])
def test_what_is_no_truth(value):
    with pytest.raises(FeatureError, match=r"^chat=.*: it must be True or False"):
        truth("chat", value, FeatureError)


def test_choices_and_truths():
    assert (truth("chat", True), truth("chat", np.False_)) == (True, False)
    assert one_of("pool", "sum", ("mean", "sum")) == "sum"
    for value in ("Sum", " sum", "", None, 1, ["sum"]):
        with pytest.raises(FeatureError, match=r"^pool=.*; use one of mean, sum"):
            one_of("pool", value, ("mean", "sum"), FeatureError)
    with pytest.raises(ValueError, match=r"use one of mean, sum; did you mean 'mean'\?"):
        one_of("pool", "maen", ("mean", "sum"))
