"""Options, dates and words of assent in replies, against readings by hand."""

import string

import pytest

from workbench.evaluation.answers import extract_answer

CHOICES = [  # (reply, the letters there are or "" where they are not known, its choice)
    ("So 588 - 150 = 438\nanswer.A", "", "A"),
    ("She lives in the U.S.A", "", ""),
    ("ANSWER: 3", "", ""),
    ("The answer is (G).", "ABCDEFG", "G"),
    ("The answer is (G).", "", "G"),
    ("The answer is (G).", "ABCDE", ""),
    ("Between (A) and (G). The answer is (G).", "ABCDE", ""),
    ("The answer is G.", "ABCDEFG", "G"),
    ("The answer is **G**", "ABCDEFG", "G"),
    (r"\boxed{\text{(G)}}", "ABCDEFG", "G"),
    ("option g", "ABCDEFG", "G"),
    ("Option G", "ABCDEFG", "G"),
    ("the answer is g", "ABCDEFG", "G"),
    ("**(G)** because", "ABCDEFG", "G"),
    ("The answer is [G]", "ABCDEFG", "G"),
    ("not (B) but (C)", "", "C"),
    ("The answer is not (B) but (C)", "", "C"),
    ("The answer is A dog.", "", ""),
    ("A dog barks.", "", ""),
    ("The answer is A because it floats.", "", "A"),
    ("I think B", "", "B"),
    ("The answer is I think (D)", "", "D"),
    ("The answer is I.", "", ""),
    ("The answer is I.", "ABCDEFGHIJ", "I"),
    ("I believe it is C.", "ABCDEFGHIJ", "C"),
    ("The answer is A or B", "", ""),
    ("Both A and C", "", ""),
    ("The answer is B, C", "", ""),
    ("Option B is correct; option C is not.", "", "B"),
    ("(A) is wrong. (B) is right.", "", "B"),
    ("B is the correct answer, C a trap", "", "B"),
    ("The answer is (A). Wait, no, it's (B).", "", "B"),
    ("The answer is (A). Wait, let me check C. Yes, fine.", "", "A"),
    ("（Ｇ）", "ABCDEFG", "G"),
    ("<think>(A)</think>(B)", "", "B"),
    ("<think>(A)", "", ""),
    ("The answer is (c) 400", "", "C"),
    ("Answer: E", "", "E"),
    ("The answer is C) 5", "", "C"),
    ("c", "", "C"),
    ("C", "", "C"),
    ("The correct option is D", "", "D"),
    ("Not A, rather D", "", "D"),
    ("The answer is (A), no wait, (B).", "", "B"),
    ("The answer is everything except (B)", "", ""),
    ("All but B", "", ""),
    ("Anything but (B).", "", ""),
    ("The answer is any option other than B", "", ""),
    ("All options except A are wrong, so not (B) but (A)", "", "A"),
    ("The answer is (Z).", "", "Z"),
    ("(H)", "ABCDEFG", ""),
    ("The answer is none of them", "", ""),
    ("The answer is all of A", "", "A"),
    ("A, B and C are wrong, so D", "", "D"),
    ("Eliminate A and B. The answer is C", "", "C"),
    ("The answer isn't A, it's B", "", "B"),
    ("The answer is **B**: 12", "", "B"),
    ("#### B", "", "B"),
    ("The answer is X = 5", "", ""),
    ("The answer is\n\n(B) 400", "", "B"),
    ("J. Smith says B", "", "B"),
    ("the answer is a cat", "", ""),
    ("the answer is a", "", "A"),
    ("The answer is a) 5", "", "A"),
]


@pytest.mark.parametrize(("text", "labels", "expected"), CHOICES)
def test_the_option_of_a_reply(text, labels, expected):
    assert extract_answer(text, "choice", labels=tuple(labels)) == expected


@pytest.mark.parametrize("count", [2, 5, 7, 10, 26])
@pytest.mark.parametrize(
    "written",
    ["The answer is ({}).", "The answer is {}.", r"\boxed{{{}}}", "**Answer: {}**",
     "Option {} it is", r"\boxed{{\text{{({})}}}}", "The correct option is {}",
     "not (A) but ({})", "{}"],
)  # fmt: skip
def test_every_letter_in_every_way(written, count):
    labels = tuple(string.ascii_uppercase[:count])
    for letter in labels:
        if letter != "A":
            assert extract_answer(written.format(letter), "choice", labels=labels) == letter
    beyond = string.ascii_uppercase[count:]
    for letter in beyond:
        assert extract_answer(written.format(letter), "choice", labels=labels) == ""


OTHERS = [
    ("The statement is not true.", "truefalse", "false"),
    ("It isn't false", "truefalse", "true"),
    ("neither true nor false", "truefalse", ""),
    ("not necessarily true", "truefalse", ""),
    ("True/False: true", "truefalse", "true"),
    ("There is no problem with it", "yesno", ""),
    ("Yes and no.", "yesno", ""),
    ("The answer is yes. Wait, no.", "yesno", "no"),
    ("The answer is yes. Wait, let me see. Yes.", "yesno", "yes"),
    ("The answer is 05/06/2009. Wait, 05/07/2009.", "date", "05/07/2009"),
    ("The answer is 05/06/2009 or 05/07/2009", "date", ""),
    ("The answer is the day after 05/06/2009", "date", ""),
    ("It is never true", "truefalse", "false"),
    ("hardly true", "truefalse", ""),
    ("No one doubts it: yes", "yesno", "yes"),
    ("No, it is fine", "yesno", "no"),
    ("no", "yesno", "no"),
    ("No", "yesno", "no"),
    ("The answer is no.", "yesno", "no"),
    ("It is normal, yes.", "yesno", "yes"),
    ("<think>no</think>yes", "yesno", "yes"),
    ("(yes/no) no", "yesno", "no"),
    ("ＹＥＳ", "yesno", "yes"),
    ("02/30/2009", "date", ""),
    ("13/13/2009", "date", ""),
    ("5-6-2009", "date", "05/06/2009"),
    ("2009/05/06", "date", "05/06/2009"),
    ("not 05/06/2009 but 05/07/2009", "date", "05/07/2009"),
    ("Sept. 5, 2009", "date", "09/05/2009"),
    ("<think>01/02/2003</think>05/06/2009", "date", "05/06/2009"),
    ("The answer is 5/6/09", "date", ""),
]


@pytest.mark.parametrize(("text", "kind", "expected"), OTHERS)
def test_assent_and_dates(text, kind, expected):
    assert extract_answer(text, kind) == expected
