"""math-verify as a second reading: what it reads, and what is said where it cannot be asked."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from workbench.errors import RunError
from workbench.evaluation import math_answers
from workbench.evaluation.answers import extract_answer, same_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 12.", "12"),
        ("The answer is 1,234.50.", "1234.5"),
        (r"The answer is $\frac12$.", "0.5"),
        (r"so \boxed{x=5}", "5"),
        (r"so $1.2 \times 10^{5}$", "120000"),
        (r"so \boxed{0.1}", "0.1"),
        (r"\boxed{\frac{1}{3}}", "1/3"),
        (r"\boxed{-7}", "-7"),
        (r"\boxed{2\frac{1}{2}}", "2.5"),
        (r"\boxed{\sqrt{2}}", "sqrt(2)"),
        (r"\boxed{2\sqrt{2}}", "2*sqrt(2)"),
        ("The answer is 25%.", "25"),
        (r"\boxed{2^{10}}", "1024"),
        ("nothing here", ""),
        ("", ""),
    ],
)
def test_numbers_as_the_library_reads_them(text, expected):
    assert extract_answer(text, "number", style="math-verify") == expected


@pytest.mark.parametrize(
    ("text", "kind", "labels", "expected"),
    [
        ("The answer is C.", "choice", (), "C"),
        ("The answer is G.", "choice", tuple("ABCDEFG"), "G"),
        ("The answer is yes.", "yesno", (), "yes"),
        ("The answer is True.", "truefalse", (), "true"),
        ("I do not know", "yesno", (), ""),
    ],
)
def test_letters_and_words_as_the_library_reads_them(text, kind, labels, expected):
    assert extract_answer(text, kind, style="math-verify", labels=labels) == expected


def test_a_reply_is_verified_against_its_gold():
    assert math_answers.right(r"So $\frac{1}{2}$", "0.5")
    assert math_answers.right("The answer is 1,200.", "1200")
    assert not math_answers.right("The answer is 7.", "8")
    assert not math_answers.right("", "8")


def test_other_threads_are_told_so():
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(extract_answer, r"\boxed{\frac{5}{8}}", "number", style="math-verify")
        with pytest.raises(RunError, match="main thread"):
            task.result()


@pytest.mark.parametrize(
    "text",
    [r"\boxed{10^{10^{10}}}", "The answer is 9**9**9**9", r"$9^{9^{9^{9}}}$", "(" * 20_000,
     r"\boxed{1" + "0" * 20_000 + "}", "The answer is 1e999999999", r"\boxed{\frac{1}{0}}",
     r"\boxed{1000000!}", "9" * 30_000],
)  # fmt: skip
def test_hostile_expressions_end(text):
    start = time.process_time()
    assert isinstance(extract_answer(text, "number", style="math-verify"), str)
    assert time.process_time() - start < 30


def test_an_expression_that_takes_too_long_is_no_answer(monkeypatch):
    import math_verify

    seconds = []

    def out_of_time(*_, parsing_timeout):
        seconds.append(parsing_timeout)
        return []  # what the library gives where its time is up

    monkeypatch.setattr(math_verify, "parse", out_of_time)
    assert extract_answer("$x^{x^2}$, and so on", "number", style="math-verify") == ""
    assert seconds == [5]


@pytest.mark.parametrize("kind", ["date", "text"])
def test_kinds_it_does_not_read_are_refused(kind):
    with pytest.raises(ValueError, match=f"no '{kind}': use 'official' or 'robust'"):
        extract_answer("The answer is 1.", kind, style="math-verify")


def test_where_it_is_missing_the_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert not math_answers.installed()
    with pytest.raises(RunError, match=r"pip install \"steering-workbench\[math\]\""):
        extract_answer("The answer is 1 of many.", "number", style="math-verify")


def test_both_agree_on_plain_statements():
    for n in (0, 7, 12, 1234, -5):
        for text in (f"The answer is {n}.", rf"\boxed{{{n}}}", f"The answer is {n:,} pens."):
            ours, theirs = (
                extract_answer(text, "number", style=s) for s in ("robust", "math-verify")
            )
            assert same_answer(ours, theirs), (text, ours, theirs)
