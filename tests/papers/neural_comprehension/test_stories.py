"""Stories that are told, and published problems by what their programs compute."""

import json
import re

import pytest

from workbench.errors import DatasetError
from workbench.papers.neural_comprehension import stories
from workbench.papers.neural_comprehension.stories import calculated


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


def addsub(question, equation, answer, **more):
    return {"sQuestion": question, "lEquations": [equation], "lSolutions": [answer], **more}


ADDSUB = [
    addsub("Joan found 70 shells . She has 27 . How many did she give ? ", "X = 70 - 27", "43"),
    addsub("Sam had 49 pennies and 24 dimes . He got 39 dimes . How many dimes ? ",
           "X = 24 + 39 ", "63"),
    addsub("He picked 4 , 9 and 3 plums , and ate 5 . How many plums ? ",
           "X=(4.0+9.0+3.0-5.0)", 11.0),
]  # fmt: skip
OTHERS = [
    addsub("She paid $5.20 and $1.80 . How much ? ", "X = 5.20 + 1.80", "7"),
    addsub("3 cats and 3 dogs . How many ? ", "X = 3 + 3", "6"),  # which is which?
    addsub("3 bags of 4 . How many ? ", "X = 3 * 4", "12"),
    addsub("1,463 and 5 . How many ? ", "X = 1463 - 5", "1458"),
    addsub("Six and 2 . How many ? ", "X = 6 - 2", "4"),
    addsub("8 and 2 . How many ? ", "X = 8 - 2", "7"),
    addsub("8 and 2 . How many ? ", "8 = X + 2", "6"),
    addsub("8 and 2 . How many ? ", "X = 2 - 8", "-6"),
    addsub("0.5 of 8 and 2 . How many ? ", "X = 8 - 2 + 0.25", "6.25"),
    {**addsub("8 and 2 . How many ? ", "", "6"), "lEquations": ["X = 8 - 2", "X = 6"]},
    {"sQuestion": "8 and 2 . How many ? ", "lSolutions": ["6"]},
]


def test_addsub_plus_has_larger_numbers_in_text_and_equation(tmp_path, caplog):
    path = written(tmp_path / "addsub.jsonl", ADDSUB + OTHERS)
    sets = stories.addsub_stories(path, (1, 2, 20), 5, 9, 0)
    assert "3 of its 14 problems" in caplog.text
    assert [s.answer for s in sets["addsub"][0]] == ["43", "63", "11", "7", "6"]
    assert sets["addsub"][0][0].text == ADDSUB[0]["sQuestion"].strip()
    for digits, told in sets["addsub_plus"].items():
        assert len(told) == 3
        for story in told:
            numbers = list(map(int, re.findall("[0-9]+", story.text)))
            if story.text.startswith("Joan"):
                a, b = changed = numbers
                assert int(story.answer) == a - b > 0
            elif story.text.startswith("Sam"):
                untouched, *changed = numbers
                assert (untouched, int(story.answer)) == (49, sum(changed))
            else:
                a, b, c, d = changed = numbers
                assert int(story.answer) == a + b + c - d > 0
            assert {len(str(n)) for n in changed} == {digits}
            words = [re.sub("[0-9]+", "", text) for text in
                     (story.text, *(row["sQuestion"].strip() for row in ADDSUB))]  # fmt: skip
            assert words[0] in words[1:]
    assert sets == stories.addsub_stories(path, (1, 2, 20), 5, 9, 0)
    few = stories.addsub_stories(path, (20,), 1, 2, 0)
    assert few["addsub_plus"][20] == sets["addsub_plus"][20][:2]
    assert len(few["addsub"][0]) == 1
    assert stories.addsub_stories(path, (20,), 1, 2, 1) != few


def test_a_file_that_is_no_addsub_says_why(tmp_path):
    for rows, said in (
        (OTHERS, "no lEquations like 'X = 70 - 27'"),
        ([{"question": "How many?", "answer": "3"}], "row 0: addsub 0: field 'sQuestion' is miss"),
    ):
        with pytest.raises(DatasetError, match=said):
            stories.addsub_stories(written(tmp_path / "bad.jsonl", rows), (3,), 1, 1, 0)
