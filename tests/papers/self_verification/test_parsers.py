"""How the parsers read a run's replies, counted by hand."""

from dataclasses import replace

import pytest

from tests.helpers.comparisons import PROBLEM, RIGHT, comparison, study
from workbench.data.problems import Problem
from workbench.papers.self_verification import parsers, tables
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify

REPLIES = [
    "The answer is 7.",  # 7 by all
    "<think>The answer is 3</think> So it is 7 (of 9).",  # official: 3, robust: 7
    r"We get \boxed{7}, as 2 is even.",  # official: 2
    "Nothing comes of it.",  # none by all
]
READ = replace(RIGHT, thoughts=REPLIES)


def test_shares_by_hand():
    rows = {row["parser"]: row for row in parsers.rows([comparison(READ)])}
    assert list(rows) == list(parsers.PARSERS.values())
    ours, literal = rows["robust (ours)"], rows["official (the paper's)"]
    assert (ours["right"], ours["no answer"], ours["other than robust"]) == (0.75, 0.25, 0.0)
    assert (literal["right"], literal["no answer"], literal["other than robust"]) == (
        0.25,
        0.25,
        0.5,
    )
    assert {row["replies"] for row in rows.values()} == {4}
    assert parsers.differing([comparison(READ, RIGHT)] * 2, "official") == [[0.5, 0.0]] * 2


def test_the_shares_are_metrics_of_the_run():
    made = {m["name"]: m for m in tables.metrics(study(comparison(READ), comparison(READ)))}
    assert made["official_differs_from_robust"]["value"] == 0.5
    assert made["math_verify_differs_from_robust"]["value"] <= 0.5


def test_a_run_without_math_verify_says_so(monkeypatch):
    monkeypatch.setattr(parsers, "installed", lambda: False)
    assert parsers.available([comparison(READ)]) == ["official", "robust"]
    *_, last = parsers.rows([comparison(READ)])
    assert last == {"parser": "math-verify (not installed: see the extra [math])"}
    names = {m["name"] for m in tables.metrics(study(comparison(READ)))}
    assert "official_differs_from_robust" in names
    assert "math_verify_differs_from_robust" not in names


def test_dates_are_not_put_to_math_verify():
    dated = replace(READ, problem=replace(PROBLEM, kind="date"))
    assert parsers.available([comparison(dated)]) == ["official", "robust"]
    one = Problem("1", "bigbench_date", "It is 1999.", "What is it?", "01/01/1999", kind="date")
    with pytest.raises(ValueError, match="no 'date'"):
        self_verify(None, [one], Settings(extraction="math-verify"))
