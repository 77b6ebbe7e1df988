"""Answers read out of text: the table of the method literally, and what chat models write."""

import json
import re
import time
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from workbench.evaluation.answers import KINDS, extract_answer, same_answer

STYLES = ("official", "robust")

# (kind, text, official, robust), by the rows of the table of the method.
VECTORS = [
    # gsm8k, addsub, multiarith, svamp, singleeq; aqua backward; date backward
    ("number", "Half of 16 is 8. The answer is 8.", "8", "8"),
    ("number", "The answer is 3. No: The answer is 7 of 9.", "7", "7"),  # last phrase, first match
    ("number", "So 4 + 5 = 9 pears", "9", "9"),  # no phrase, last match
    ("number", "The answer is $1,200.", "1200", "1200"),
    ("number", "The answer is 1,234,567 cents, not 5.", "1234567", "1234567"),
    ("number", "The answer is 0.50.", "0.50", "0.50"),
    ("number", "The answer is -3.5 degrees.", "-3.5", "-3.5"),
    ("number", "The answer is 25%.", "25", "25"),
    ("number", "We get 12.", "12", "12"),
    ("number", "10-20", "-20", ""),  # a range, no sign and no number
    ("number", "The answer is unknown.", "", ""),
    ("number", "The answer is none of 3", "3", "3"),
    ("number", "Of 3 apples. The answer is not given.", "", ""),
    ("number", "", "", ""),
    ("number", "no digits here", "", ""),
    ("number", r"3 + 4 is \boxed{7}", "7", "7"),
    ("number", r"The result is \boxed{7}, checked in 2 ways.", "2", "7"),
    ("number", r"\boxed{7}. The answer is 8.", "8", "7"),
    ("number", r"\boxed{6} and then \boxed{\$1{,}250.75}", "250.75", "1250.75"),
    ("number", r"so \boxed{\frac{3}{4}}", "4", "3/4"),
    ("number", r"so \boxed{-\dfrac{3}{4}}", "4", "-3/4"),
    ("number", r"so \boxed{1\frac{1}{2}}", "2", "3/2"),
    ("number", r"\boxed{12\text{ cm}} of 30", "30", "12"),
    ("number", r"\boxed{x = 9}, as 2 is even", "2", "9"),
    ("number", r"The area is \boxed{42", "42", "42"),  # cut off
    ("number", r"The answer is \(18\).", "18", "18"),
    ("number", "The answer is **18** dollars.", "18", "18"),
    ("number", "the answer is 6. There were 10 before.", "10", "6"),
    ("number", "THE ANSWER IS: 6 (out of 10)", "10", "6"),
    ("number", "So the final answer is 6 out of 10", "10", "6"),
    ("number", "**Answer:** 42 apples, from 2 trees", "2", "42"),
    ("number", "Answer: £3.20 for 4", "4", "3.20"),
    ("number", "The answer is 3 * 4 = 12.", "3", "12"),
    ("number", "The answer is 12 = 3 * 4.", "12", "12"),
    ("number", "The answer is X = 5, Y = 6.", "5", ""),
    ("number", "The answer is 7, since 3 + 4 = 7 and 8 = 8.", "7", "7"),
    ("number", "The answer is 3/4.", "3", "3/4"),
    ("number", "The answer is 1 1/2 cups.", "1", "3/2"),
    ("number", "The answer is 5/0.", "5", ""),
    ("number", "The answer is 05/06/2009.", "05", ""),
    ("number", "The answer is -$5.", "5", "-5"),
    ("number", "The answer is $-5.", "-5", "-5"),
    ("number", "The answer is \u22125.", "5", "-5"),
    ("number", "The answer is H2O, 3 liters.", "2", "3"),
    ("number", "The answer is .5 or so.", "5", ".5"),
    ("number", "The answer is 2,125.", "2125", "2125"),
    ("number", "It is 2**3 = 8", "8", "8"),
    # aqua and commonsensqa forward
    ("choice", "So it is a match. The answer is B.", "B", "B"),
    ("choice", "The answer is (C) 400 km.", "C", "C"),
    ("choice", "The answer is All of them, E.", "A", "E"),  # literal: any capital
    ("choice", "Not A, rather D", "D", "D"),
    ("choice", "Option A is correct", "A", "A"),
    ("choice", "Clearly (B). A dog barks.", "A", "B"),  # an article is no option
    ("choice", "The answer is A because it floats.", "A", "A"),
    ("choice", "the answer is (b).", "", "B"),
    ("choice", "The answer is b.", "", "B"),
    ("choice", "The answer is unclear, e.g. missing.", "", ""),
    ("choice", r"\boxed{\text{D}}, not E", "E", "D"),
    ("choice", r"\boxed{\textbf{(A)}\ 12} beats C", "C", "A"),
    ("choice", "**Answer: C**\n\nBecause Ducks float", "D", "C"),
    ("choice", "ANSWER:E", "E", "E"),
    ("choice", "nothing", "", ""),
    # bigbench_date forward
    ("date", "The answer is 05/06/2009.", "05/06/2009", "05/06/2009"),
    ("date", "The answer is 05/06/2009", "05/06/200", "05/06/2009"),  # literal: last char goes
    ("date", "The answer is 05/06/2009.\n", "05/06/2009", "05/06/2009"),
    ("date", "The answer is 5/6/2009.", "5/6/2009", "05/06/2009"),
    ("date", "The answer is **May 6, 2009**.", "**May 6, 2009**", "05/06/2009"),
    ("date", "the answer is 6 May 2009.", "he answer is 6 May 2009", "05/06/2009"),
    ("date", "The answer is the 6th of May, 2009.", "the 6th of May, 2009", "05/06/2009"),
    ("date", "The answer is 2009-05-06.", "2009-05-06", "05/06/2009"),
    ("date", r"\boxed{05/06/2009}", r"boxed{05/06/2009", "05/06/2009"),
    (
        "date",
        "From 01/02/2003 on. Answer: 05/06/2009",
        "rom 01/02/2003 on. Answer: 05/06/200",
        "05/06/2009",
    ),
    (
        "date",
        "First 01/02/2003, then 05/06/2009.",
        "irst 01/02/2003, then 05/06/2009",
        "05/06/2009",
    ),
    ("date", "", "", ""),
    # strategyqa, coin_flip; commonsensqa backward
    ("yesno", "It fits. The answer is yes.", "yes", "yes"),
    ("yesno", "The answer is No, not at all, yes?", "no", "no"),
    ("yesno", 'The answer is "yes".', "yes", "yes"),
    ("yesno", "Is it yes? The statement: no", "no", "no"),
    ("yesno", "The answer is (yes)", "", "yes"),  # literal: brackets are not replaced
    ("yesno", "The answer is **No**.", "", "no"),
    ("yesno", "Yes. There is no doubt.", "no", "yes"),
    ("yesno", "Yes or no? I say it is normal: yes", "yes", "yes"),
    ("yesno", r"\boxed{\text{Yes}}", "", "yes"),
    ("yesno", "Nobody knows.", "", ""),
    # last_letters
    ("text", "The answer is nk.", "nk", "nk"),
    ("text", 'The answer is "n k".\n', "nk", "n k"),
    ("text", "nk", "nk", "nk"),
    ("text", "the answer is 'nk'.", "theanswerisnk", "nk"),
    ("text", "The answer is **nk**. Done.", "**nk**Done", "nk"),
    ("text", r"\boxed{\text{nk}}", r"\boxed{\text{nk}}", "nk"),
    ("text", "Answer: nk\nsince n follows", "Answer:nksincenfollows", "nk"),
    ("text", 'Together they make "nk".', "Togethertheymakenk", "nk"),
    ("text", "I do not know", "Idonotknow", ""),
    ("text", "The answer is", "", ""),
    # true or false
    ("truefalse", "4 + 5 is 9. The answer is True.", "true", "true"),
    ("truefalse", "The answer is False, so not true.", "false", "false"),
    ("truefalse", "True or False? It is false", "false", "false"),
    ("truefalse", "The answer is: **TRUE**", "", "true"),
    ("truefalse", "False. It cannot be true.", "true", "false"),
    ("truefalse", r"Hence \boxed{\text{False}}.", "", "false"),
    ("truefalse", "Untrue", "", ""),
]


@pytest.mark.parametrize(("kind", "text", "official", "robust"), VECTORS)
def test_both_styles_on_written_examples(kind, text, official, robust):
    assert extract_answer(text, kind, style="official") == official
    assert extract_answer(text, kind, style="robust") == robust
    assert extract_answer(text, kind) == robust


def test_more_digits_than_python_turns_into_a_number_are_kept_as_text():
    digits = "9" * 6000
    for written in (digits, f"{digits} 1/2", f"{digits}/{digits}"):
        assert extract_answer(f"The answer is {written}.", "number").startswith(digits)


def test_unknown_styles_and_kinds_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'loose'.*'official', 'robust', 'math-verify'"):
        extract_answer("The answer is 1.", "number", style="loose")
    with pytest.raises(ValueError, match=r"'float'.*number, choice, date, yesno, truefalse, text"):
        extract_answer("The answer is 1.", "float")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("2,125", "2125", True),
        ("8.0", "8", True),
        ("02", "2", True),
        ("5.", "5", True),
        (".5", "1/2", True),
        ("+3", "3", True),
        ("5/6", "0.8333333333333333", True),
        ("5/6", "0.83", False),
        ("1000", "1000.0009", True),
        ("1000", "1000.0011", False),
        ("0", "0.0000001", False),
        ("-4", "4", False),
        ("0.1", "1/10", True),
        ("9007199254740993", "9007199254740993.0", True),
        ("1,2", "12", False),
        ("5/0", "5/0", True),  # not a number, but the same text
        ("5/0", "5", False),
        ("B", "b", True),
        ("Yes", "yes", True),
        (" nk ", "nk", True),
        ("05/06/2009", "05/06/2009", True),
        ("05/06/2009", "06/05/2009", False),
        ("12", "twelve", False),
        ("", "", False),
        ("", "0", False),
        ("  ", "  ", False),
        ("9" * 6000, "9" * 6000, True),  # more digits than Python turns into a number
        ("1e999999999", "1", False),
        ("1/2", "0.5", True),
        ("120000", "1.2e5", True),
        ("1.2e5", "120,000", True),
        ("1e999999999", "1e999999999", True),
        ("$5", "5", False),
        ("25%", "25", False),
        ("25%", "0.25", False),
        ("2 1/2", "2.5", True),
        ("−7", "-7", True),
        ("1 234 567", "1234567", True),
        ("1e-3", "0.001", True),
        ("1/3", "0.333333", True),
        ("1/3", "0.333", False),
        ("1.234,5", "1234.5", True),
        ("½", "0.5", True),
        ("3:30", "3:30", True),
        ("-0", "0", True),
        ("+5", "5", True),
        ("10^5", "100000", True),
        ("5k", "5000", True),
        ("0", "1e-9", False),
    ],
)
def test_same(a, b, expected):
    assert same_answer(a, b) is expected
    assert same_answer(b, a) is expected


def test_large_whole_numbers_are_not_rounded():
    assert not same_answer("10000001", "10000000")
    assert not same_answer("-10000001", "-10000000")
    assert same_answer("10000001.0", "10,000,001")
    assert same_answer("10000000.5", "10000000.6")  # printed floats agree to six digits


INTEGERS = st.integers(-(10**9), 10**9)
CENTS = st.integers(0, 10**8).map(lambda n: f"{n // 100:,}.{n % 100:02}")
COUNTS = st.integers(0, 10**9).map(lambda n: f"{n:,}")


@settings(deadline=None)
@given(INTEGERS, st.integers(1, 10**6), st.integers(1, 50))
def test_a_rational_written_in_several_ways_is_the_same(p, q, k):
    ways = [f"{p}/{q}", f"{p * k}/{q * k}", str(Fraction(p, q))]
    if q == 1:
        ways += [f"{p:,}", f"{p}.", f"{p}.000", f" {p}"]
    assert all(same_answer(a, b) for a in ways for b in ways)


@settings(deadline=None)
@given(INTEGERS, st.integers(0, 6))
def test_decimals_are_the_same_as_their_fractions(p, places):
    sign, digits = "-" * (p < 0), f"{abs(p):0{places + 1}}"
    cut = len(digits) - places
    decimal = f"{sign}{digits[:cut]}.{digits[cut:]}"
    assert same_answer(decimal, f"{p}/{10**places}")
    assert same_answer(decimal, f"{decimal}00")
    assert same_answer(decimal, f"{sign}{int(digits[:cut]):,}.{digits[cut:]}")


@settings(deadline=None)
@given(INTEGERS, st.integers(1, 10**6), INTEGERS, st.integers(1, 10**6))
def test_different_rationals_are_told_apart(p, q, r, s):
    a, b = Fraction(p, q), Fraction(r, s)
    assume(abs(a - b) * 10**6 > max(abs(a), abs(b)))
    assert not same_answer(str(a), str(b))


@settings(deadline=None)
@given(
    number=CENTS | COUNTS,
    before=st.sampled_from(["", "$", "€", "£ ", "about ", "**", r"\(", r"\boxed{", r"\boxed{\$"]),
    unit=st.sampled_from(["", "%", " km", " apples", "kg", " dollars per hour", r"\text{ cm}"]),
    phrase=st.sampled_from(["The answer is ", "the answer is ", "The answer is: ", "Answer: "]),
    after=st.sampled_from(["", ".", ". It took 3 steps.", "\n\nCheck: 5 + 6 = 11."]),
)
@example(number="1,200", before="$", unit="", phrase="The answer is ", after=".")
def test_robust_finds_the_number_among_commas_currency_and_units(
    number, before, unit, phrase, after
):
    closing = {"*": "**", "(": r"\)", "{": "}", "$": "}" if "box" in before else ""}
    text = f"First 17 of 99. {phrase}{before}{number}{unit}"
    text += closing.get(before[-1:], "") + after
    found = extract_answer(text, "number")
    assert same_answer(found, number)
    assert "," not in found


@settings(deadline=None)
@given(number=CENTS | COUNTS, after=st.sampled_from([".", " km.", "% of 5"]))
def test_official_drops_commas_and_takes_the_first_number(number, after):
    found = extract_answer(f"First 17. The answer is {number}{after}", "number", style="official")
    assert found == number.replace(",", "")


@settings(deadline=None)
@given(text=st.text(), kind=st.sampled_from(KINDS), style=st.sampled_from(STYLES))
def test_any_text_is_read_without_failing(text, kind, style):
    for whole in (text, f"The answer is {text}", rf"\boxed{{{text}}}", f"{text} Answer: {text}"):
        assert isinstance(extract_answer(whole, kind, style=style), str)


@settings(deadline=None)
@given(
    text=st.text("ab .,:=-/$(){}\\0123456789*", max_size=60),
    kind=st.sampled_from(KINDS),
)
def test_what_robust_finds_is_of_its_kind(text, kind):
    found = extract_answer(text, kind)
    if found and kind == "number":
        over, _, under = found.partition("/")
        assert same_answer(found, str(Fraction(over) / Fraction(under or 1)))
    if found and kind == "choice":
        assert found in tuple("ABCDE")
    if kind in ("yesno", "truefalse"):
        assert found in ("", "yes", "no", "true", "false")


@pytest.mark.parametrize("piece", ["1,2 = x (", "1", "(", "answer is ", "**a", "\\frac{", "a "])
@pytest.mark.parametrize("kind", KINDS)
def test_very_long_text_is_read_quickly(kind, piece):
    start = time.process_time()
    extract_answer(rf"{piece * 20_000} \boxed{{{piece * 20_000}}}", kind)
    # Backtracking over the whole text would take minutes.
    assert time.process_time() - start < 5


@pytest.fixture
def rows(shared):
    folder = shared / "selfverification"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")

    def lines(name):
        return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]

    return {
        "gsm8k": lines("gsm8k_test_400.jsonl"),
        "aqua": lines("AQuA_test.json"),
        "svamp": json.loads((folder / "SVAMP.json").read_text("utf-8")),
    }


@pytest.mark.parametrize("style", STYLES)
def test_every_gold_is_read_back_from_its_rationale(rows, style):
    assert {name: len(found) for name, found in rows.items()} == {
        "gsm8k": 400,
        "aqua": 254,
        "svamp": 1000,
    }
    for row in rows["gsm8k"]:
        rationale, gold = row["answer"].split("#### ")
        text = f"{rationale}The answer is {gold}."
        assert same_answer(extract_answer(text, "number", style=style), gold)
    for row in rows["aqua"]:
        text = f"{row['rationale']}\nThe answer is {row['correct']}."
        assert extract_answer(text, "choice", style=style) == row["correct"]
    for row in rows["svamp"]:
        gold = str(row["Answer"]).removesuffix(".0")
        text = f"{row['Equation']} The answer is {gold}."
        assert same_answer(extract_answer(text, "number", style=style), gold)


def test_robust_reads_the_golds_as_a_chat_model_would_write_them(rows):
    for row in rows["gsm8k"]:
        rationale, gold = row["answer"].split("#### ")
        for written in (
            rf"\boxed{{{gold}}}",
            f"**Answer:** ${gold}",
            f"So the answer is **{gold}**",
        ):
            assert same_answer(extract_answer(rationale + written, "number"), gold)


def test_bare_rationales_of_people_end_in_their_golds(rows):
    read = [
        same_answer(
            extract_answer(re.sub("<<.*?>>", "", row["answer"].split("####")[0]), "number"),
            row["answer"].split("####")[1].strip(),
        )
        for row in rows["gsm8k"]
    ]
    assert sum(read) == 400


def test_robust_is_silent_rather_than_wrong_on_human_rationales(rows):
    """Without the phrase, people end with "ANSWER:B" or with nothing that names an option."""
    found = [(extract_answer(row["rationale"], "choice"), row["correct"]) for row in rows["aqua"]]
    assert sum(same_answer(a, b) for a, b in found) >= 240
    assert not [pair for pair in found if pair[0] and not same_answer(*pair)]
