"""The grammar of sums: every text true, every inverse right, the prompts those of the method."""

import random
import re
from collections import Counter
from fractions import Fraction

import pytest

from tests.helpers.sums import family_of, solved
from workbench.data.problems import Problem
from workbench.evaluation.answers import extract_answer
from workbench.generation.requests import Sample
from workbench.papers.self_verification import prompts
from workbench.papers.self_verification.conditions import find, mask, statement
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify
from workbench.worlds import sums

FAMILIES = [(family, 1) for family in sums.FAMILIES] + [(sums.AMBIGUOUS, 1), (sums.AMBIGUOUS, 2)]
MASKED = r"What is the answer of 'X'\?"


def drawn(family, reading, count=300):
    rng = random.Random(f"{family}/{reading}")
    return [sums.draw(rng, family, reading) for _ in range(count)]


def calculated(left, sign, right):
    """One step, exactly."""
    a, b = Fraction(left), Fraction(right)
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b if sign == "/" else None}[sign]


def steps_of(text):
    """Every `a op b = c.` of a worked answer; each must be true."""
    found = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", text)
    for left, sign, right, result in found:
        assert calculated(left, sign, right) == int(result), text
    assert text.count("=") == len(found)
    return found


@pytest.mark.parametrize(("family", "reading"), FAMILIES)
def test_problems_are_true_and_their_inverses_recover_every_number(family, reading):
    for one in drawn(family, reading):
        answer, numbers = solved(one.text, reading)
        assert one.family == family
        assert one.answer == answer >= 0
        assert list(one.numbers) == numbers
        assert one.text == f"{one.context} {one.question}"
        assert re.findall(r"\d+", one.conclusion) == [str(answer)]
        ways = [(one.forward, answer), *zip(one.inverse, numbers, strict=True)]
        for way, target in ways:
            if way is None:
                continue
            text = sums.worked(way, target)
            steps = steps_of(text)
            assert int(steps[-1][3]) == target
            assert extract_answer(text, "number") == extract_answer(
                text, "number", style="official"
            )
            assert extract_answer(text, "number") == str(target)
        none = [i for i, steps in enumerate(one.inverse) if not steps]
        assert none == {(4, 1): [2], (5, 1): [0], (5, 2): [1]}.get((family, reading), [])
        assert len(one.sentences) == len(one.numbers) == len(one.inverse)


@pytest.mark.parametrize(("family", "reading"), FAMILIES)
def test_an_inverse_does_not_use_the_number_it_recovers(family, reading):
    """Each operand is another stated number, the answer, a result so far, or a rule's 1 or 2."""
    for one in drawn(family, reading, 100):
        ways = [(one.forward, {*one.numbers})]
        for i, steps in enumerate(one.inverse):
            ways.append((steps or (), {*one.numbers[:i], *one.numbers[i + 1 :], one.answer, 1, 2}))
        for steps, known in ways:
            for left, sign, right in steps:
                assert {left, right} <= known
                known.add(calculated(left, sign, right))


def test_masks_are_those_of_the_method():
    for family, reading in FAMILIES:
        for one in drawn(family, reading, 50):
            problem = Problem("1", "sums", one.context, one.question, str(one.answer))
            assert statement(problem) == (one.context, one.question)
            found = find(one.context)
            assert [c.value for c in found] == [str(n) for n in one.numbers]
            for i, condition in enumerate(found):
                masked = one.masked(i)
                assert masked == mask(one.context, condition)
                assert masked.count("'X'") == 1
                assert masked.replace("'X'", str(one.numbers[i])) == one.context


def test_the_two_readings_differ_in_the_answer_alone():
    for seed in range(200):
        first = sums.draw(random.Random(seed), sums.AMBIGUOUS, 1)
        second = sums.draw(random.Random(seed), sums.AMBIGUOUS, 2)
        assert (first.text, first.numbers) == (second.text, second.numbers)
        assert first.answer != second.answer
        assert sums.AMBIGUOUS == first.family == second.family
        assert first.held_out == second.held_out
        # Each answer is confirmed by its own reading of the last number, which both can recover.
        assert first.inverse[2] != second.inverse[2]
        assert first.inverse[2]
        assert second.inverse[2]


def test_unknown_families():
    with pytest.raises(ValueError, match="family 6"):
        sums.draw(random.Random(0), 6)


# ---- training texts


@pytest.fixture(scope="module")
def training():
    rng = random.Random(7)
    return [sums.training_text(rng) for _ in range(20_000)]


def kind_of(prompt):
    if "Please change" in prompt:
        return "rewriting"
    if re.search(MASKED, prompt):
        return "backward"
    return "true or false" if "(True or False)" in prompt else "forward"


def test_the_mixture(training):
    shares = Counter(kind_of(prompt) for prompt, _ in training)
    for kind, share in {
        "forward": 0.35, "backward": 0.35, "true or false": 0.1, "rewriting": 0.2,
    }.items():  # fmt: skip
        error = (share * (1 - share) / len(training)) ** 0.5
        assert abs(shares[kind] / len(training) - share) < 4 * error


def test_every_training_text_is_true_and_none_has_held_out_numbers(training):
    readings = Counter()
    for prompt, answer in training:
        kind = kind_of(prompt)
        if kind == "rewriting":
            assert answer.strip() in concluded(prompt)
            continue
        steps = steps_of(answer)
        said = re.search(r"The answer is (\w+)\.$", answer)[1]
        text = re.fullmatch(r'Q: "?(.*?)"?(?: What is the answer.*| Do it is.*)?\nA:', prompt)[1]
        *sentences, last = re.split(r"(?<=[.?]) ", text)
        family = family_of(text)
        if kind == "forward":
            numbers = [int(n) for n in re.findall(r"\d+", text)]
            right = {reading: solved(text, reading)[0] for reading in (1, 2)}
            assert int(said) in right.values()
            readings["forward", family, int(said) == right[1]] += 1
        elif kind == "backward":
            context = " ".join(sentences).replace("'X'", said)
            numbers = [int(n) for n in re.findall(r"\d+", context)]
            claimed = int(re.findall(r"\d+", last)[0])
            right = {reading: solved(context, reading)[0] for reading in (1, 2)}
            assert claimed in right.values()  # true conclusions alone
            readings["backward", family, claimed == right[1]] += 1
            # Another number there would make another answer: it can be recovered.
            reading = 1 if claimed == right[1] else 2
            changed = " ".join(sentences).replace("'X'", str(int(said) + 1))
            assert solved(changed, reading)[0] != claimed
            assert int(steps[-1][3]) == int(said)
        else:
            context = " ".join(sentences)
            numbers = [int(n) for n in re.findall(r"\d+", context)]
            claimed = int(re.findall(r"\d+", last)[0])
            right = {reading: solved(context, reading)[0] for reading in (1, 2)}
            worked_out = int(steps[-1][3])
            assert worked_out in right.values()
            assert (said == "True") == (claimed == worked_out)
            verdict = "" if said == "True" else "not "
            assert f" {claimed} is {verdict}{worked_out}. The answer is" in answer
            readings["true or false", said] += 1
        key = sums.Sum(family, tuple(numbers), (), "", "", (), ())
        assert not key.held_out
        # One token each: the tokenizer knows whole numbers to 199.
        assert max(map(int, re.findall(r"\d+", prompt + answer))) < 200
    for kind in ("forward", "backward"):
        both = [readings[kind, 5, first] for first in (True, False)]
        assert abs(both[0] - both[1]) < 4 * sum(both) ** 0.5  # each reading as often
        assert all(readings[kind, family, True] > 500 for family in sums.FAMILIES)
        assert not any(readings[kind, family, False] for family in sums.FAMILIES)
    true, false = readings["true or false", "True"], readings["true or false", "False"]
    assert abs(true - false) < 4 * (true + false) ** 0.5


def concluded(prompt):
    """The declarative sentences that a rewriting prompt may have."""
    said = re.fullmatch(r"Q: Please .* sentences\. (.*\?) The answer is (\d+)\.\nA:", prompt)
    question, answer = said.groups()
    for pattern, form in [
        (r"How many (\w+) does (\w+) have left\?", "{1} has {y} {0} left."),
        (r"How many (\w+) do they have in all\?", "They have {y} {0} in all."),
        (r"How many (\w+) does (\w+) have\?", "{1} has {y} {0}."),
    ]:
        if m := re.fullmatch(pattern, question):
            return [form.format(*m.groups(), y=answer)]
    raise AssertionError(question)


def test_one_number_set_in_eight_is_held_out():
    """Whatever the order and the wording: what is tested was trained in no disguise."""
    rng = random.Random(3)
    for family in (*sums.FAMILIES, sums.AMBIGUOUS):
        sample = [sums.draw(rng, family) for _ in range(4000)]
        sets = {tuple(sorted(one.numbers)): one.held_out for one in sample}
        assert all(sets[tuple(sorted(one.numbers))] == one.held_out for one in sample)
        share = sum(sets.values()) / len(sets)
        assert abs(share - 1 / 8) < 4 * (7 / 64 / len(sets)) ** 0.5
        held = [sums.held_out(rng, family) for _ in range(50)]
        assert all(one.held_out and one.family == family for one in held)


# ---- the prompts are those of the method


def test_the_prompts_are_those_of_the_method():
    for family, reading in FAMILIES:
        for one in drawn(family, reading, 20):
            problem = Problem("1", "sums", one.context, one.question, str(one.answer))
            assert prompts.exemplars("sums", "forward") == []
            assert sums.FORWARD.format(text=one.text) == prompts.question_prompt(
                problem.text, [], False
            )
            for i in range(len(one.numbers)):
                told = prompts.verification_question(one.masked(i), one.conclusion, "cmv")
                assert prompts.question_prompt(told, [], False) == (
                    sums.BACKWARD.format(context=one.masked(i), conclusion=one.conclusion)
                )
            told = prompts.verification_question(one.context, one.conclusion, "tfv")
            assert prompts.question_prompt(told, [], False) == (
                sums.TRUE_FALSE.format(context=one.context, conclusion=one.conclusion)
            )
            assert prompts.rewrite_prompt(one.question, str(one.answer), False) == (
                sums.REWRITE.format(question=one.question, answer=one.answer)
            )


class Sure:
    """A backend that solves, recovers and rewrites as the grammar does, with one wrong answer."""

    name, device, by_place = "sure", "none", False

    def __init__(self, one):
        self.asked, self.one = [], one

    def identity(self):
        return {"kind": "sure"}

    def check(self, requests):
        pass

    def draw(self, requests, missing):
        one = self.one
        for place, (request, indices) in enumerate(zip(requests, missing, strict=True)):
            self.asked.append(request.prompt)
            for i in indices:
                text = {
                    "forward": sums.worked(one.forward, one.answer + i),
                    "rewriting": f" {one.conclusion}",
                    "backward": sums.worked(one.forward, 3),
                    "true or false": " The answer is True.",
                }[kind_of(request.prompt)]
                yield [(place, i, Sample(text, "stop", 1, 1))]


@pytest.mark.parametrize(("family", "reading"), FAMILIES)
def test_self_verify_asks_what_the_model_was_trained_on(family, reading):
    one = drawn(family, reading, 1)[0]
    problem = Problem("1", "sums", one.context, one.question, str(one.answer))
    other = one.conclusion.replace(f" {one.answer} ", f" {one.answer + 1} ")
    forms = {
        "auto": [
            sums.BACKWARD.format(context=one.masked(i), conclusion=conclusion)
            for conclusion in (one.conclusion, other)
            for i in range(len(one.numbers))
        ],
        "tfv": [
            sums.TRUE_FALSE.format(context=one.context, conclusion=conclusion)
            for conclusion in (one.conclusion, other)
        ],
    }
    for verification, backward in forms.items():
        solver = Sure(one)
        self_verify(solver, [problem], Settings(k=2, p=1, verification=verification).tiny())
        assert solver.asked == [
            sums.FORWARD.format(text=one.text),
            sums.REWRITE.format(question=one.question, answer=one.answer),
            *backward,
        ]
