"""Stories that are told, and published problems by what their programs compute."""

import json

import pytest

from workbench.errors import DatasetError
from workbench.papers.neural_comprehension import stories
from workbench.papers.neural_comprehension.prompts import calculated


def test_stories_of_a_size_do_not_depend_on_the_others():
    both, one = (stories.pens_by_digits(sizes, 5, 0) for sizes in ((2, 30), (30,)))
    assert both[30] == one[30]
    assert both[30] != stories.pens_by_digits((30,), 5, 1)[30]
    assert stories.pens_by_digits((30,), 9, 0)[30][:5] == both[30]
    assert all(calculated(s.read) == s.answer for told in both.values() for s in told)
    assert stories.coins_by_flips((3,), 4, 0)[3][0].text.count("coin") == 3


HARD = [
    {"input": "Ann has 5.", "code": "def solution():\n    a = 5\n    return a + 3", "target": 8.0},
    {"input": "Bob has 9.", "code": "a = 9\na -= 3", "target": "6"},
    {"input": "Eve has 2.", "code": "x = 2 + 3 - 1", "target": 4},
    {"input": "Sam has 2.", "code": "x = 2 * 3", "target": 6},
    {"input": "Tom has 2.", "code": "x = 2 + 3 * 1", "target": 5},
    {"input": "Lea has 2.", "code": "not python", "target": 5},
    {"input": "Ida has 2.", "code": "x = 2 + 0.5", "target": 2.5},
    {"input": "Kim has 2.", "code": "x = 7", "target": 7},
]


def written(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_gsm_hard_is_parted_by_its_operators(tmp_path):
    sets = stories.published_stories(written(tmp_path / "hard.jsonl", HARD), 10)
    assert {name: [s.answer for s in told] for name, told in sets.items()} == {
        "addition": ["8"], "subtraction": ["6"], "mixed": ["4"],
    }  # fmt: skip


def test_problems_of_ones_own(tmp_path):
    rows = [{"question": f"How many {i}?", "answer": f"{i},000"} for i in range(1, 6)]
    sets = stories.published_stories(written(tmp_path / "own.jsonl", rows), 3)
    assert [s.answer for s in sets["yours"]] == ["1000", "2000", "3000"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [([{"question": "How many?"}], "row 0: no target or answer; it has question"),
     ([{"answer": "3"}], "row 0: no input or question"),
     ([{"question": "", "answer": "3"}], "row 0: no input or question"),
     ([HARD[3]], "no problem of whole numbers that adds"),
     ([{"question": "Which?", "answer": "the red one"}], "no problem of whole numbers")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(tmp_path, rows, said):
    with pytest.raises(DatasetError, match=said):
        stories.published_stories(written(tmp_path / "bad.jsonl", rows), 3)
