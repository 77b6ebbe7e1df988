"""Rules: what they abstain from, whatever `run` does, and which of several answers."""

import random
from dataclasses import replace

import pytest

import workbench as wb
from tests.helpers.odd_tokenizers import model_of
from tests.helpers.sum_tokenizers import sum_tokenizer
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.rules import (
    SPECIAL,
    Abstained,
    SymbolicRule,
    answers,
    checked,
    coin_flip_rule,
    place_at,
    task_rule,
)
from workbench.papers.neural_comprehension.tasks import TASKS

SUMS = ["addition", "subtraction"]


@pytest.fixture(scope="module")
def digits():
    return model_of(sum_tokenizer("digits"))


def texts(model, prompts, new, **more):
    return [t for ts in wb.generate(model, prompts, max_new_tokens=new, **more) for t in ts]


REFUSED = {
    "1,234+5=": "no_input", "3.5+1=": "no_input", "-7+3=": "no_input", "1e5+3=": "no_input",
    "3+-7=": "ambiguous", "1 + 2 + 3 =": "no_input", "2*3+4=": "no_input", "$5+3=": "no_input",
    "1 000+5=": "no_input", "5-3+2=": "ambiguous", "2024-01-15=": "no_input",
    "12<mark>+34=": "special_token", "5<eos>12+34=": "special_token", "(4+5) * 3 + 1 =": "no_input",
    f"{'9' * 120}+{'1' * 99}=": "too_long", "reverse of Ann ->": "no_input", "x2+3=": "no_input",
    f"copy of {'a' * 200} ->": "too_long", "parity of 102 ->": "no_input", "٣+4=": "no_input",
    "2024-01 =": "no_input", "007+3=": "no_input", "minus 7 + 3 =": "no_input",
    "1\n+ 2 + 3 =": "no_input", "the log 3 + 4 =": "no_input", "ten plus 4 + 5 =": "no_input",
}  # fmt: skip


@pytest.mark.parametrize("prompt", REFUSED, ids=range(len(REFUSED)))
def test_what_a_network_does_not_read_is_the_models(digits, prompt):
    gate = Gate([*SUMS, "reverse", "copy", "parity"])
    assert texts(digits, [prompt], 6, rule=gate) == texts(digits, [prompt], 6)
    (abstention,) = gate.abstentions
    assert abstention.reason.partition(":")[0] == REFUSED[prompt]
    assert not gate.log


def answered(text):
    """The answer to what ends a text; None where there is none."""
    place = place_at(checked([*TASKS, coin_flip_rule()]), text, len(text))
    (answer,) = answers([place]) if place else (None,)
    return answer if isinstance(answer, str) else None


CHAINS = {
    "1 0 1 ->": "0", f"{SPECIAL}1 0 1 ->": "0", f"Ann{SPECIAL}1 1 1 ->": "1", "1 0 1->": "0",
    "1  0\t1 ->": "0", "Ann flips. 1 0 ->": "1", "Story 3: 1 1 ->": "0",
    "1 0 0 -> 1\n1 1 ->": "0", "1 1 -> 0\n\n0 1 ->": "1", "in 2021:\n1 0 ->": "1",
}  # fmt: skip
NOT_WHOLE = [
    "1, 0 1 ->", "2 1 0 1 ->", "10 0 1 ->", "10  0 1 ->", "1.5 0 1 ->", "-1 0 1 ->", "1 ٣ 0 1 ->",
    f"1 0{SPECIAL}1 0 ->", "1 0 -> 1 1 1 ->", "1; 0 1 ->", "1 0 x1 1 0 ->", "1 ->",
    "reverse of reverse of abc ->", "last letter of the copy of abc ->",
    "2 mod 3 + 4 =", "log2 3 + 4 =", "√ 9 + 3 =", "2 *7-3 =", "(2) **7-3 =", "2\n-1=",
]  # fmt: skip


@pytest.mark.parametrize("text", CHAINS, ids=range(len(CHAINS)))
def test_flips_of_a_coin_are_those_of_its_line(text):
    assert answered(text) == CHAINS[text]


@pytest.mark.parametrize("text", NOT_WHOLE, ids=range(len(NOT_WHOLE)))
def test_nothing_is_answered_for_a_part(text):
    assert answered(text) is None


def expression(rng, depth):
    if depth == 0 or rng.random() < 0.25:
        number = str(rng.choice([rng.randint(0, 9), rng.randint(10, 9999)]))
        return rng.choices([number, f"-{number}", f"({number})", f"{number}.5"], [9, 1, 1, 1])[0]
    before, after = rng.choice(["", "", " "]), rng.choice(["", " "])
    sign = rng.choice(["+", "+", "-", "-", "*", "/", "//", "%"])
    text = f"{expression(rng, depth - 1)}{before}{sign}{after}{expression(rng, depth - 1)}"
    return f"({text})" if rng.random() < 0.1 else text


def test_what_is_answered_is_the_value_of_the_whole_expression():
    rng, rules, count = random.Random(0), checked(SUMS), 0
    unbounded = [replace(rule, most=0) for rule in rules]
    for _ in range(3000):
        text = expression(rng, rng.randint(1, 3))
        before = rng.choice(["", "Q: ", "1+1=2\n", "So ", "7 is 3 - ", SPECIAL])
        asked = f"{before}{text}{rng.choice(['', ' '])}="
        place, other = (place_at(some, asked, len(asked)) for some in (rules, unbounded))
        assert (place and (place.start, place.given)) == (other and (other.start, other.given))
        if before.endswith("- "):
            text = f"3 - {text}"
        plain = place and not place.tied and place.given.replace("+", "-").split("-")
        if plain and len(plain) == 2 and all(map(str.isdecimal, plain)):
            count += 1
            assert eval(place.given) == eval(text), asked
    assert count > 200


@pytest.mark.parametrize("unit", ["- ", "* ", "minus - ", "3 123- ", "1 + ", "2021 2022 ", "a- b "])
def test_a_long_line_is_read_at_once(unit):
    """By a pattern that could be split in many ways it would take years."""
    for trigger in ("x =", "x ->"):
        assert answered(unit * 60 + trigger) is None


def test_a_normaliser_opts_in(digits):
    def plain(given):
        return given.replace(",", "").lower()

    rules = [task_rule("addition", normalise=plain), task_rule("reverse", normalise=plain)]
    gate = Gate(rules)
    got = texts(digits, ["1,234+5=", "reverse of Ann ->", "3.5+1="], 8, rule=gate)
    assert got[0].startswith("1239")
    assert got[1].startswith(" nna")
    assert [a.reason.partition(":")[0] for a in gate.abstentions] == ["no_input"]
    assert gate.fingerprint() is None


def upper(name="upper", pattern=r"up (\w+)=", run=None, **more):
    return SymbolicRule(name, pattern, run or (lambda given: [g.upper() for g in given]), **more)


def broken(given):
    if "bad" in given:
        raise KeyError("bad")
    return [g.upper() for g in given]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (broken, "raised: KeyError: 'bad'"),
        (lambda given: [g.upper() for g in given if g != "bad"], "raised: ValueError: "),
        (lambda given: ["" if g == "bad" else g.upper() for g in given], "raised: ValueError: "),
        (lambda given: [7 if g == "bad" else g.upper() for g in given], "raised: ValueError: "),
        (lambda given: None, "raised: TypeError: "),
        (lambda given: [Abstained("mine: no") if g == "bad" else g.upper() for g in given], "mine"),
    ],
)
def test_a_rule_that_fails_takes_nothing_from_its_neighbours(digits, run, reason):
    gate, prompts = Gate([upper(run=run)]), ["up good=", "up bad=", "up fine="]
    got, plain = texts(digits, prompts, 6, rule=gate), texts(digits, prompts, 6)
    assert got[1] == plain[1]
    answered = [reply[:4] for reply in (got[0], got[2])]
    assert answered == (["GOOD", "FINE"] if run(["good"]) else [plain[0][:4], plain[2][:4]])
    assert all(a.reason.startswith(reason) for a in gate.abstentions)
    assert "bad" in [a.given for a in gate.abstentions]


def test_a_match_that_begins_before_what_is_read_first(digits):
    rule = SymbolicRule("length", r"([a-z ]+)=", lambda gs: [str(len(g)) for g in gs], sep="")
    prompt = "hello or even " * 120
    assert len(digits.tokenizer(prompt)["input_ids"]) > 300
    assert texts(digits, [f"{prompt}="], 4, rule=Gate([rule])) == ["1680"]


def test_memory_is_the_callers_affair(digits):
    def run(given):
        raise MemoryError

    with pytest.raises(MemoryError):
        texts(digits, ["up it="], 2, rule=Gate([upper(run=run)]))


def test_rules_on_one_trigger(digits):
    short, long = upper("short", r"(\w+)=", lambda g: ["S"] * len(g), guard=""), upper()
    gate = Gate([short, long])
    assert texts(digits, ["up it=", "it="], 1, rule=gate) == ["I", "S"]
    assert [entry.rule for entry in gate.log] == ["upper", "short"]
    twin = upper("twin", r"u(p) \w+=", lambda g: ["T"] * len(g))
    gate = Gate([long, twin])
    assert texts(digits, ["up it="], 3, rule=gate) == texts(digits, ["up it="], 3)
    assert gate.abstentions[0].reason == "ambiguous: upper, twin match alike"


@pytest.mark.parametrize(
    ("pattern", "trigger", "match"),
    [
        (r"up \w+=", "=", "has no groups"), (r"up (\w+", "+", "is no regular expression"),
        (r"up (\w+)=", "->", "must end in its trigger"), (r"(a)= ", "= ", "in no space"),
        ("(a)", "", "must end in its trigger"),
    ],
)  # fmt: skip
def test_patterns_that_are_refused(pattern, trigger, match):
    with pytest.raises(ValueError, match=match):
        SymbolicRule("it", pattern, len, trigger)
