"""What can be masked in a question, against spans written down by hand and numbers spelled here."""

import re
from fractions import Fraction
from math import prod

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from workbench.data.problems import Problem, read_problems
from workbench.evaluation.answers import extract_answer, same_answer
from workbench.papers.self_verification.conditions import (
    MASK,
    Condition,
    find,
    mask,
    released,
    statement,
)

FILES = {"gsm8k": "gsm8k_test_400.jsonl", "svamp": "SVAMP.json", "aqua": "AQuA_test.json"}
SEPARATED = st.lists(st.integers(0, 10**7), min_size=1, max_size=6)


def spans(text, **kwargs):
    """(what is masked, its value) of every condition."""
    return [(text[c.start : c.end], c.value) for c in find(text, **kwargs)]


def problem(question, context="", dataset="gsm8k", kind="number"):
    return Problem("1", dataset, context, question, "1", kind=kind)


# ---- an independent speller of English numbers

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = ["", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split()]


def spell(n, hyphen="-", conjunction=" and "):
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (hyphen + ONES[n % 10] if n % 10 else "")
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            head, rest = divmod(n, size)
            said = f"{spell(head, hyphen, conjunction)} {name}"
            joint = conjunction if rest < 100 else " "
            return said + (joint + spell(rest, hyphen, conjunction) if rest else "")
    raise AssertionError(n)


def test_the_speller():
    assert spell(206) == "two hundred and six"
    assert spell(30_512) == "thirty thousand five hundred and twelve"
    assert spell(1_000_021, " ", " ") == "one million twenty one"


# ---- numbers in digits and words

FOUND = [
    ("There are 16 boxes of 6 pens and 6 lids.", [("16", "16"), ("6", "6"), ("6", "6")]),
    ("He has 35.", [("35", "35")]),
    ("It costs $5.20.", [("5.20", "5.2")]),
    ("80,000 people, 1,200.50 dollars", [("80,000", "80000"), ("1,200.50", "1200.5")]),
    ("1,000, 2,000 or 100, 200", [(x, x.replace(",", "")) for x in "1,000 2,000 100 200".split()]),
    ("a 25% raise, then 2.5%.", [("25", "25"), ("2.5", "2.5")]),
    ("from 10-20 to 10%-20%", [("10", "10"), ("20", "20"), ("10", "10"), ("20", "20")]),
    ("$5-$10 and 5–10", [("5", "5"), ("10", "10"), ("5", "5"), ("10", "10")]),
    ("a 10-foot rope, a 5-year-old", [("10", "10"), ("5", "5")]),
    ("5 - 3", [("5", "5"), ("3", "3")]),
    ("It is -3 degrees, then (-4.5).", [("-3", "-3"), ("-4.5", "-4.5")]),
    ("the points (3,-4)", [("3", "3"), ("-4", "-4")]),
    ("x=-4 and \u22127 and $-5", [("-4", "-4"), ("\u22127", "-7"), ("-5", "-5")]),
    ("1/2 cup and 1 1/2 cups and 2/3", [("1/2", "0.5"), ("1 1/2", "1.5"), ("2/3",) * 2]),
    ("$.20 and .5 hours", [(".20", "0.2"), (".5", "0.5")]),
    ("Rs.360 and $50,000/year", [("360", "360"), ("50,000", "50000")]),
    ("shirts,10 ties", [("10", "10")]),
    ("0.00001 of 12345678901234567.25", [(x, x) for x in ("0.00001", "12345678901234567.25")]),
    ("10m^2 of x^2 in 3 days", [("10", "10"), ("3", "3")]),
    ("2.5 Million and 3 thousands", [("2.5 Million", "2500000"), ("3 thousands", "3000")]),
    ("2 million, 2.5 million", [("2 million", "2000000"), ("2.5 million", "2500000")]),
    ("#3", [("3", "3")]),
    # The unit is no part of the number.
    ("at 12km/hr, the 12th or the 6th", [("12", "12"), ("12", "12"), ("6", "6")]),
    ("12kg, 12.5km, 5pm, 10am, 21st, 2x", [(x, x) for x in "12 12.5 5 10 21 2".split()]),
    (
        "$12, 12%, 3-day, 3/4ths, the 1990s, 60W",
        [(x, x) for x in "12 12 3".split()] + [("3/4", "0.75"), ("1990", "1990"), ("60", "60")],
    ),
    ("9am-5pm, 5kg-10kg, a 4x5 room, 4×5", [(x, x) for x in "9 5 5 10 4 5 4 5".split()]),
    ("12m2, 5 m2, 3cm3", [("12", "12"), ("5", "5"), ("3", "3")]),
    ("It weighs 12.5kg. It costs 5.20.", [("12.5", "12.5"), ("5.20", "5.2")]),
    ("1e5 or 2.5e3 cells", [("1e5", "100000"), ("2.5e3", "2500")]),
    ("１２ pens, ½ cup, 2½ cups", [("１２", "12"), ("½", "0.5"), ("2½", "2.5")]),
    (
        "1\u202f234\u202f567 and 1\u00a0234 and 1\u2009234",
        [("1\u202f234\u202f567", "1234567"), ("1\u00a0234", "1234"), ("1\u2009234", "1234")],
    ),
    ("on day 5 100 came; 1 234 567 left", [("5", "5"), ("100", "100"), ("1 234 567", "1234567")]),
    ("1.234,5 and 12,34,567", [("1.234,5", "1234.5"), ("12,34,567", "1234567")]),
    ("It is –7 degrees, pages 5–10", [("–7", "-7"), ("5", "5"), ("10", "10")]),
    ("3 hundred thousand, 2-million", [("3 hundred thousand", "300000"), ("2-million", "2000000")]),
    ("12kWh, 3D, 5G, 7th-grade, 2nd", [(x, x) for x in "12 3 5 7 2".split()]),
    # What looks like numbers but states none, or none of its own.
    ("12:30, 7:11, A4, x2, B12, COVID-19, mp3, 1a2b, H2O, _7, v1.2.3, 5/0", []),
    ("5/0 and 01/22/2019 and 1,23 and 1.2.3", []),
    ("", []),
    # Words.
    ("twenty-five cats", [("twenty-five", "25")]),
    ("Twenty five cats", [("Twenty five", "25")]),
    ("two hundred and six", [("two hundred and six", "206")]),
    ("a hundred, several thousand", [("hundred", "100"), ("thousand", "1000")]),
    ("seventeen hundred", [("seventeen hundred", "1700")]),
    ("one apple, no one, one-third", []),
    ("one hundred one", [("one hundred one", "101")]),
    ("One has two, one has three", [("two", "2"), ("three", "3")]),
    ("between two and three", [("two", "2"), ("three", "3")]),
    ("twenty and five", [("twenty", "20"), ("five", "5")]),
    ("two hundred and three hundred", [("two hundred", "200"), ("three hundred", "300")]),
    ("two hundred six thousand", [("two hundred six thousand", "206000")]),
    ("three twenty-dollar bills", [("three", "3"), ("twenty", "20")]),
    ("three and a half", [("three", "3")]),
    ("a five-year-old and hundreds, tens, often, seventh", [("five", "5")]),
    ("6 and seven", [("6", "6"), ("seven", "7")]),
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_numbers_are_found_as_tokens(text, expected):
    assert spans(text) == expected
    for condition, (span, value) in zip(find(text), expected, strict=True):
        assert mask(text, condition).replace(MASK, span) == text
        # Who recovers what was masked is heard, in whatever way it was written.
        for reply in (f"The answer is {span}.", f"The answer is {value}."):
            assert same_answer(extract_answer(reply, "number"), condition.value), reply


UNITS = ["km/hr", "th", "kg", "%", "-day", "cm", " pens", "pm", "", ".", ", then", "$", "x as many"]
WRITTEN = st.one_of(
    st.integers(0, 10**7).map(lambda n: (f"{n:,}", Fraction(n))),
    st.integers(0, 10**7).map(lambda n: (str(n), Fraction(n))),
    st.integers(0, 10**7).map(lambda n: (f"{n:,}".replace(",", "\u202f"), Fraction(n))),
    st.integers(0, 10**6).map(lambda n: (f"{n / 100:.2f}", Fraction(n, 100))),
    st.integers(1, 99).map(lambda n: (f"{n} million", Fraction(n * 10**6))),
    st.tuples(st.integers(1, 99), st.integers(2, 99)).map(
        lambda t: (f"{t[0]}/{t[1]}", Fraction(*t))
    ),
    st.integers(1, 99).map(lambda n: (f"{n} 1/2", n + Fraction(1, 2))),
    st.integers(2, 999_999).map(lambda n: (spell(n), Fraction(n))),
)


@given(WRITTEN, st.sampled_from(["", "$", "(", "Rs.", "#"]), st.sampled_from(UNITS))
def test_a_masked_number_and_the_reply_that_recovers_it_agree(written, before, unit):
    span, value = written
    assume(
        not (span[-1].isalpha() and unit[:1].isalpha())
        and not (span[0].isalpha() and before == "Rs.")
    )
    text = f"Of these he saw {before}{span}{unit}"
    (condition,) = find(text)
    assert mask(text, condition) == f"Of these he saw {before}{MASK}{unit}"
    for reply in (span, f"{before}{span}", rf"\boxed{{{span}}}", condition.value):
        answer = extract_answer(f"So X is found. The answer is {reply}.", "number")
        assert same_answer(answer, condition.value), reply
        assert Fraction(answer) == value


def test_every_part_of_a_date_is_a_number():
    text = "It is 01/22/2019, her 16-year-old has two days. Jan 1,2002 and the 25th of May, 1,200"
    found = [("01", "1"), ("22", "22"), ("2019", "2019"), ("16", "16"), ("two", "2"), ("1", "1"),
             ("2002", "2002"), ("25", "25"), ("1,200", "1200")]  # fmt: skip
    assert spans(text, dates=True) == found
    assert mask(text, find(text, dates=True)[1]).startswith("It is 01/'X'/2019, ")


def test_a_repeated_value_is_masked_where_it_stands():
    text = "6 of 16 have 6 pens."
    assert [mask(text, c) for c in find(text)] == [
        "'X' of 16 have 6 pens.",
        "6 of 'X' have 6 pens.",
        "6 of 16 have 'X' pens.",
    ]


@given(SEPARATED, st.sampled_from([" pens and ", ". Then ", ", ", " + ", "% of $", " (", "\n"]))
def test_every_integer_of_a_text_is_masked_once(numbers, between):
    for written in ([str(n) for n in numbers], [f"{n:,}" for n in numbers]):
        text = f"He has {between.join(written)}."
        found = find(text)
        assert [c.value for c in found] == [str(n) for n in numbers]
        for i, condition in enumerate(found):
            parts = [*written[:i], MASK, *written[i + 1 :]]
            assert mask(text, condition) == f"He has {between.join(parts)}."


DIVISORS = [2**a * 5**b for a in range(9) for b in range(9) if 2**a * 5**b <= 10**4]


@given(st.builds(Fraction, st.integers(-(10**12), 10**12), st.sampled_from(DIVISORS)))
def test_a_decimal_keeps_its_value(value):
    text = f"{value.numerator * 10**8 // value.denominator / 10**8:.8f}"
    (condition,) = find(f"It is {text} here.")
    assert Fraction(condition.value) == Fraction(text)
    assert "e" not in condition.value


@given(st.integers(0, 999_999_999).filter(lambda n: n != 1), st.sampled_from("- "), st.booleans())
@example(206, "-", True)
@example(100, " ", False)
@example(1_000_001, "-", True)
def test_spelled_numbers(n, hyphen, conjunction):
    words = spell(n, hyphen, " and " if conjunction else " ")
    for said in (words, words.capitalize()):
        text = f"He saw {said} sheep."
        assert spans(text) == [(said, str(n))]
        assert mask(text, find(text)[0]) == "He saw 'X' sheep."


@given(st.text("0123456789 .,-/:%$'aXone twohdr", max_size=40))
def test_masks_of_any_text_are_well_formed(text):
    well_formed(text, find(text))
    pieces = {i for c in find(text, dates=True) for i in range(c.start, c.end)}
    assert pieces >= {i for i, letter in enumerate(text) if letter.isdigit()}


# ---- what is stated and what is asked


def test_the_preamble_of_the_question_is_stated():
    for question, stated, asked in [
        ("If a pen costs 3 dollars, how much do 4 cost?", "If a pen costs 3 dollars,",
         "How much do 4 cost?"),
        ("How many are left, if 4 go?", "", "How many are left, if 4 go?"),
        ("How many of the 5 are there?", "", "How many of the 5 are there?"),
        ("If Mary, who has 3 pens, buys 5, how many has she?",
         "If Mary, who has 3 pens, buys 5,", "How many has she?"),
        ("If x = 3, where x > 2, what is 2x?", "If x = 3, where x > 2,", "What is 2x?"),
        ("With 5 wheels, which of these is it?", "With 5 wheels,", "Which of these is it?"),
        ("If it is 3, calculate the rest.", "If it is 3,", "Calculate the rest."),
        ("How many ways are there, when he takes 2?", "",
         "How many ways are there, when he takes 2?"),
        ("Somehow, somewhat?", "", "Somehow, somewhat?"),
    ]:  # fmt: skip
        assert statement(problem(question)) == (stated, asked)
        context = "There are 7."
        both = f"{context} {stated}".strip()
        assert statement(problem(question, context)) == (both, asked)


# ---- the published files


def told(span):
    """The value of digits as a spreadsheet would have it."""
    span = span.replace("\u2212", "-").replace("\u2044", "/")
    if re.fullmatch(r"[\d.]+(, ?\d{3})* \d+/\d+|\d+ \d+/\d+", span):
        return sum(map(Fraction, span.split()))
    if re.fullmatch(r"\d{1,3}([.]\d{3})+,\d+", span):
        return Fraction(span.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d{1,3}([.]\d{3}){2,}", span):
        return Fraction(span.replace(".", ""))
    if "," in span and re.search(r"[ ']", span):
        return Fraction(re.sub("[ ']", "", span).replace(",", "."))
    return Fraction(re.sub("[ ',]", "", span))


def well_formed(text, found):
    """Sorted spans apart from each other, each a whole number of that value, and invertible."""
    last = 0
    for condition in found:
        start, end = condition.start, condition.end
        assert last <= start < end <= len(text)
        last = end
        span, before, after = text[start:end], text[:start], text[end:]
        assert mask(text, condition) == before + MASK + after
        assert before + span + after == text
        # Not inside another number or behind a word; no sign right behind an operand.
        assert not re.search(r"[\w)%]$" if span[0] in "-\u2212" else r"\w$|\d[.,:/]$", before) or (
            re.search(r"\dx$", before)
        )
        assert not re.match(r"[\d_]|[.,:/]\d", after)
        assert span[-1].isalnum()
        assert same_answer(extract_answer(f"The answer is {span}.", "number"), condition.value)
        if span[-1].isdigit():
            value = told(span)
        elif span[0].isdigit():
            digits, *scales = re.split("[ -](?=[a-z])", span)
            value = told(digits) * prod(
                {"hundred": 100, "thousand": 1000}.get(w, 10**6) for w in scales
            )
        else:
            value = Fraction(condition.value)
            said = re.sub(" and |-", " ", span.lower())
            most = re.sub(r"^(hundred|thousand|million)", r"one \1", said)
            hundreds = f"{spell(int(value) // 100, ' ')} hundred"
            assert most in (spell(int(value), " ", " "), hundreds)
            assert said != "one"
        assert Fraction(condition.value) == value


@pytest.fixture(scope="session")
def published(shared):
    folder = shared / "selfverification"
    return {name: read_problems(name, folder / file) for name, file in FILES.items()}


@pytest.mark.parametrize("name", FILES)
def test_every_mask_of_the_published_questions(published, name):
    masks = 0
    for one in published[name]:
        stated, asked = statement(one)
        before, after = f"{one.context} {one.question}", f"{stated} {asked}"
        assert before.casefold().split() == after.casefold().split()
        found = find(stated)
        well_formed(stated, found)
        masks += len(found)
        # Every digit is in a mask, but for those of times, ratios and what is glued to letters.
        covered = {i for c in found for i in range(c.start, c.end)}
        for m in re.finditer(r"\d(?:[\d.,]*\d)?", stated):
            if not covered >= set(range(*m.span())):
                around = stated[max(0, m.start() - 2) : m.end() + 3]
                assert re.search(r"\d ?[A-Za-z]|[A-Za-z]\^?\d|\d:\d", around), around
    assert masks > 2 * len(published[name])


def test_few_published_questions_have_nothing_to_mask(published):
    none = {n: sum(not find(statement(p)[0]) for p in ps) for n, ps in published.items()}
    # AQuA's are formulas ("900 + 5 × 12 = ?") and questions of one sentence.
    assert none == {"gsm8k": 1, "svamp": 0, "aqua": 32}


# ---- the released code's masks


def counts(problems):
    """(prompts, those without an X, those with the X inside a number), read off the texts."""
    texts = [text for p in problems for _, text in released(p)]
    missing = sum(MASK not in text for text in texts)
    inside = sum(bool(re.search(r"\d'X'|'X'\d", text)) for text in texts)
    return len(texts), missing, inside


def test_released_masks_miss_as_often_as_the_spec_counts(published):
    """Trap 5.1, points 1 and 2, for the two complete files (our GSM8K file holds 400 of 1319).

    Reproduced: SVAMP 53 prompts without any X and 58 with it inside another number, AQuA 100
    without any X. Not reproduced: the totals 2219 (SVAMP) and 598 (AQuA), where this reconstruction
    asks 2199 and 566 prompts, and AQuA's 34 inside a number, here 32.
    """
    assert counts(published["svamp"]) == (2199, 53, 58)
    assert counts(published["aqua"]) == (566, 100, 32)


def test_released_masks_by_hand():
    one = problem("How many are there, in all?", "He has 35. She has 16 and 6, each 1,000 cost $5.")
    found = released(one, 9)
    # 35 and 5 are found with their full stops, which no piece holds; 1,000 becomes 1.000.
    assert [(c.value, c.visible) for c, _ in found] == [
        ("35", False), ("16", True), ("6", False), ("1", False), ("5", False),
    ]  # fmt: skip
    assert found[1][1] == "He has 35. She has 'X' and 6. each 1.000 cost $5. How many are there."
    assert [c.value for c, _ in released(one)] == ["35", "16", "6"]
    inside = problem("How many?", "He has 16 and 6 pens.")
    assert [text for _, text in released(inside)] == ["He has 'X' and 6 pens.", "He has 1'X' and 6"
                                                      " pens."]  # fmt: skip
    both = problem("How many?", "She has 6 pens. He has 6 pens.")
    assert released(both)[0][1] == "She has 'X' pens. He has 'X' pens."
    assert [c.value for c, _ in released(problem("How many?", "Of 10-20 pens."))] == ["10", "-20"]
    assert released(problem("How many are 3 and 4?")) == []
    (condition, text) = released(inside)[1]
    assert condition == Condition(8, 9, "6")
    assert text[condition.start :].startswith(MASK)
