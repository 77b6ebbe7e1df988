"""AutoCoNN keeps what is right on every check, and says of all else why not."""

import random
from dataclasses import replace
from functools import partial

import pytest

import workbench as wb
from workbench.errors import NoProgramFound
from workbench.papers.neural_comprehension import autoconn
from workbench.papers.neural_comprehension.autoconn import (
    INPUTS,
    Goal,
    auto_conn,
    canned,
    drawn,
    judged,
    prompt,
    right_by_examples,
    right_by_prompt,
    task_goal,
    written,
)
from workbench.papers.neural_comprehension.program_text import read_program
from workbench.papers.neural_comprehension.reference import evaluate
from workbench.papers.neural_comprehension.tasks import TASKS, task
from workbench.reading import read_yaml

ONES = 'ones = Select(token, token, lambda key, query: key == "1")\n'
RIGHT = ONES + "Count(ones, lambda n: str(n % 2))"
LONGER = ONES + "n = Count(ones, lambda n: n)\nMap(lambda n: str(n % 2), n)"
PARITY = Goal(
    "Is the number of ones odd?", [("110", "000"), ("10101", "11111")], "01",
    lambda given: str(given.count("1") % 2) * len(given), window=8,
)  # fmt: skip


@pytest.mark.parametrize("name", ["parity", "reverse", "last_letter", "copy"])
def test_the_smallest_right_program_is_taken(name):
    best, table = auto_conn(canned(name), task_goal(name))
    right = [each for each in table if not each.failed]
    assert len(table) == 20
    assert 0 < len(right) < 10
    assert (best.layers, best.weights) == min((each.layers, each.weights) for each in right)
    rng, symbolic = random.Random(1), task(name)
    for length in range(1, 12):
        given = symbolic.draw(rng, length)
        (row,) = best.network.read([symbolic.symbols(given)])
        assert symbolic.spelled(row) == symbolic.answer(given)


def test_the_paper_s_sums_find_nothing():
    with pytest.raises(NoProgramFound, match="none of 20 programs is right") as nothing:
        auto_conn(canned("addition"), task_goal("addition"))
    assert len(nothing.value.candidates) == 20
    assert all(each.failed and each.reason for each in nothing.value.candidates)


@pytest.mark.parametrize(
    ("text", "failed", "reason"),
    [
        (RIGHT, "", ""),
        (LONGER, "", ""),
        (ONES + "Count(ones, lambda n: n % 2)", "", ""),
        ("Sure!", "text", "no Python"),
        ("Map(lambda t: t.__class__, token)", "text", "__class__"),
        ("Count(Select(token, token, lambda k, q: k / 2 == 1), str)", "text", "'k / 2' is not"),
        ("Category(lambda n: n, position * 90000, 0, 700000)", "size", "630,001 numbers"),
        ("Category(lambda n: 1, position * 900000, 0, 5)", "size", "numbers from 0 to 6300000"),
        ("Category(lambda n: n, position * 100, 0, 700)", "size", "701 values and 0"),
        (f"i = Category(lambda n: n, position * 20, 0, 140)\n{ONES}"
         "c = Copy(Select(token, token, lambda k, q: True), Map(lambda n: 1, i))\n"
         "Zip(lambda a, b, d: str(d), (i, i, c))", "size", "combinations"),
        ("z = position * 0\n" + "z = z + z\n" * 59 + "c = Category(lambda n: '0', z, 0, 9)\n"
         "Zip(lambda zero, t: zero, (c, token))", "examples", "'10101' gives"),
        ("Map(lambda t: '0', index)", "size", "one Token"),
        ("Map(lambda t: int(t + 'x'), token)", "size", "invalid literal"),
        ("Map(lambda t: '0', token)", "examples", "'10101' gives '00000', not '11111'"),
        ("Copy(Select(token, token, lambda k, q: True), token)", "examples", "differ"),
        (ONES + "Count(ones, lambda n: str(n % 2) if n < 4 else '0')", "oracle", "not '1"),
        (ONES + "x = Average(ones, position)\nb = Category(lambda n: 1, x, 0, 9)\n"
         "Count(ones, lambda n: str(n % 2))", "", ""),
        ("Average(Select(token, token, lambda k, q: True), position)", "text", "categorical"),
    ],
    ids=range(18),
)  # fmt: skip
def test_each_candidate_has_the_check_it_failed(text, failed, reason):
    candidate = judged(text, PARITY, drawn(PARITY, 0))
    assert candidate.failed == failed, candidate
    assert reason in candidate.reason
    assert (candidate.network is None) == bool(failed)


def test_a_network_that_is_not_its_program_is_refused(monkeypatch):
    plain = autoconn.network_of

    def broken(compiled):
        network = plain(compiled)
        network.layers[0].down.weight[:, -2:] = 0
        return network

    monkeypatch.setattr(autoconn, "network_of", broken)
    candidate = judged(RIGHT, replace(PARITY, oracle=None), [("1" * 8, None)])
    assert candidate.failed == "random inputs"
    assert "by its network" in candidate.reason


def test_random_inputs_are_like_the_examples():
    goal = task_goal("addition")
    cases = drawn(goal, 0)
    assert len(cases) == INPUTS
    for text, out in cases:
        a, b = text.removesuffix("=").split("+")
        assert len(text) <= goal.window
        assert text.endswith("=")
        assert out.strip("_") == str(int(a) + int(b))
    assert drawn(goal, 0) == cases != drawn(goal, 1)
    assert {len(text) for text, _ in drawn(PARITY, 0)} == set(range(1, 9))
    assert {out for _, out in drawn(replace(PARITY, oracle=None), 0)} == {None}


@pytest.mark.parametrize("name", list(TASKS))
def test_a_task_s_oracle_is_python_s(name):
    goal, symbolic = task_goal(name), task(name)
    for given, out in goal.examples:
        plain = given.removesuffix("=") if symbolic.anchored else given
        assert symbolic.spelled(out) == symbolic.answer(plain)


def test_the_programs_of_the_prompt_do_what_they_say():
    language = prompt(PARITY)
    parts = language.split("\n\n")
    shown = [part for part in parts if " -> " in part][:-1]
    assert len(shown) >= 6
    for part in shown:
        lines = part.splitlines()
        given, out = next(line for line in lines if " -> " in line).removeprefix("# ").split(" -> ")
        program = read_program(part, "".join(sorted(set(given))), 8)
        assert autoconn.spelled(evaluate(program, given)) == out


def test_the_prompt_tells_what_it_is_asked_to():
    both, told, shown = (prompt(PARITY, asked) for asked in autoconn.ASKED)
    assert both.endswith("# Is the number of ones odd?\n# 110 -> 000\n# 10101 -> 11111\n")
    assert told.endswith("# Is the number of ones odd?\n")
    assert shown.endswith("\n# 110 -> 000\n# 10101 -> 11111\n")
    assert "odd" not in shown
    with pytest.raises(ValueError, match="asked='both'"):
        prompt(PARITY, "both")


def test_any_completer_writes():
    model = wb.load("tiny")
    texts = written(model, "# How do I mend the gate?\n", 2, 0)
    assert len(texts) == 2
    assert texts == written(model, "# How do I mend the gate?\n", 2, 0)
    assert {judged(text, PARITY, drawn(PARITY, 0)).failed for text in texts} == {"text"}


@pytest.mark.parametrize("replies", [RIGHT, [None], [RIGHT, 5]], ids=["text", "none", "number"])
def test_a_writer_returns_texts(replies):
    with pytest.raises(ValueError, match="the writer returns"):
        auto_conn(lambda asked, n: replies, PARITY)
    with pytest.raises(ValueError, match="n=0"):
        auto_conn(lambda asked, n: [RIGHT], PARITY, 0)


def test_a_fenced_block_is_what_is_read():
    reply = f"Here it is:\n```python\n{RIGHT}\n```\nIt counts the ones."
    best, _ = auto_conn(lambda asked, n: [reply] * n, PARITY, 1)
    assert best.text.strip() == RIGHT


@pytest.mark.parametrize(
    "examples", [[], [("", "")], [("11", "1")], [("2", "0")], [("1" * 9, "1" * 9)]], ids=range(5)
)
def test_examples_that_say_nothing_are_refused(examples):
    with pytest.raises(ValueError, match="example"):
        replace(PARITY, examples=examples)


def test_more_examples_accept_fewer_wrong_programs():
    rows = right_by_examples(canned("parity"), task_goal("parity"), 18)
    assert [row["examples"] for row in rows] == [1, 2, 5]
    accepted = [row["accepted"] for row in rows]
    assert accepted == sorted(accepted, reverse=True)
    assert accepted[0] > accepted[-1] > rows[-1]["right"]
    assert {row["right"] for row in rows} == {2}


def test_a_table_counts_right_programs_by_prompt():
    def writer(asked, n):
        return [RIGHT if "odd" in asked and "110 -> 000" in asked else "token"] * n

    rows = right_by_prompt(writer, PARITY, 3)
    assert [row["right"] for row in rows] == [3, 0, 0]
    assert all(row["programs"] == 3 for row in rows)


def test_the_kept_texts_are_of_every_kind():
    kept = read_yaml(autoconn.TEXTS, ValueError)
    assert set(kept["instructions"]) == set(TASKS) == set(kept["written"]) - {"any"}


@pytest.mark.parametrize("pairs", [["ab"], [("a",)], [(1, 2)], [None], "ab", None], ids=repr)
def test_examples_are_pairs_of_texts(pairs):
    with pytest.raises(ValueError, match="example"):
        Goal("Copy.", pairs, "ab")


@pytest.mark.parametrize("window", ["8", 0, 10**6])
def test_a_goal_s_window_is_one_that_a_network_is_exact_at(window):
    with pytest.raises(ValueError, match="window"):
        Goal("Copy.", [("a", "a")], "ab", window=window)


def test_a_writer_may_yield_its_programs_and_must_return_some():
    goal = Goal("Copy.", [("ab", "ab")], "ab")
    _, table = auto_conn(lambda _, n: ("Map(str, token)" for _ in range(n)), goal, 3)
    assert [each.failed for each in table] == ["", "", ""]
    with pytest.raises(ValueError, match="the writer returns=None: it must be a list"):
        auto_conn(lambda _, n: None, goal)


def raising(given):
    raise KeyError("no answer")


@pytest.mark.parametrize(
    ("oracle", "message"),
    [(raising, r"KeyError for '[01]+': 'no answer'"), (lambda given: None, "None to"),
     (lambda given: "1", "'1' to"), (lambda given: [given], "must be a text"), (5, "TypeError")],
    ids=["raises", "none", "short", "list", "number"],
)  # fmt: skip
def test_an_oracle_that_has_no_answer_is_named_before_anything_is_written(oracle, message):
    for attempt in (auto_conn, partial(right_by_examples, counts=[2]), right_by_prompt):
        with pytest.raises(ValueError, match=f"oracle.*{message}"):
            attempt(lambda *_: pytest.fail("asked"), replace(PARITY, oracle=oracle))


@pytest.mark.parametrize("vocabulary", [None, ["0", "1"], "0110"], ids=repr)
def test_a_vocabulary_is_a_text_of_different_symbols(vocabulary):
    with pytest.raises(ValueError, match="vocabulary"):
        replace(PARITY, vocabulary=vocabulary)


@pytest.mark.parametrize("counts", [[0], [-1], [1, 3], 2, []], ids=repr)
def test_as_many_examples_are_shown_as_there_are(counts):
    with pytest.raises(ValueError, match="count"):
        right_by_examples(lambda *_: pytest.fail("asked"), PARITY, counts=counts)


def test_what_is_no_goal_or_writer_is_named():
    for attempt in (auto_conn, right_by_examples, right_by_prompt, lambda _, goal: prompt(goal)):
        with pytest.raises(ValueError, match="goal=None: it must be a Goal"):
            attempt(lambda *_: pytest.fail("asked"), None)
    for writer in (None, 5, ["token"]):
        with pytest.raises(ValueError, match="it must be a completer or a function"):
            auto_conn(writer, PARITY)
    with pytest.raises(ValueError, match="instruction=None"):
        replace(PARITY, instruction=None)
