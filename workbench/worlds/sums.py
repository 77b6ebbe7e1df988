"""Sums of Brindle: a small grammar of arithmetic word problems, worked out in both directions.

Five families. In 1 to 3 every stated number can be recovered from the rest and the answer; in 4 one
number is a distractor, which nothing recovers; 5 is ambiguous ("has 5 more": than the one before,
which counts as right, or than the first?), its two readings are trained alike in both directions,
and a wrong reading therefore survives re-derivation: verification is expected not to help there.

The prompts are those of Self-Verification without exemplars; whoever changes a prompt there must
train the model again (a test compares them).
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = ("Tom", "Ann", "Bob", "Eve", "Sam", "Lea")
OBJECTS = ("apples", "pens", "books", "cards")
FAMILIES = (1, 2, 3, 4)
AMBIGUOUS = 5
HELD_OUT = 8
"""One in so many number triples is kept for tests and never trained on, in either direction."""

FORWARD = "Q: {text}\nA:"
BACKWARD = "Q: \"{context} {conclusion}\" What is the answer of 'X'?\nA:"
TRUE_FALSE = 'Q: "{context} {conclusion}" Do it is correct (True or False)?\nA:'
REWRITE = (
    "Q: Please change the questions and answers into a complete declarative sentences. "
    "{question} The answer is {answer}.\nA:"
)

Step = tuple[int, str, int]
"""left operand, one of + - * /, right operand."""


@dataclass(frozen=True)
class Sum:
    """One problem: sentences that each state one number, and how they hang together.

    `inverse[i]` are the steps from the answer back to the number of sentence i, None where nothing
    recovers it.
    """

    family: int
    numbers: tuple[int, ...]
    sentences: tuple[str, ...]
    question: str
    conclusion: str
    forward: tuple[Step, ...]
    inverse: tuple[tuple[Step, ...] | None, ...]

    @property
    def context(self) -> str:
        return " ".join(self.sentences)

    @property
    def text(self) -> str:
        return f"{self.context} {self.question}"

    @property
    def answer(self) -> int:
        return value(self.forward[-1])

    @property
    def held_out(self) -> bool:
        """Whether these numbers are kept for tests."""
        name = f"{self.family}:{sorted(self.numbers)}"
        return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT == 0

    def masked(self, i: int) -> str:
        """The context with the number of sentence i replaced by 'X'."""
        number = str(self.numbers[i])
        sentences = list(self.sentences)
        sentences[i] = sentences[i].replace(f" {number}", " 'X'", 1)
        return " ".join(sentences)


def value(step: Step) -> int:
    """What a step gives; divisions come out even."""
    a, sign, b = step
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[sign]


def worked(steps: Sequence[Step], answer: object) -> str:
    """Steps and answer as the model writes them."""
    lines = [f" {a} {sign} {b} = {value((a, sign, b))}." for a, sign, b in steps]
    return "".join(lines) + f" The answer is {answer}."


def draw(rng: random.Random, family: int, reading: int = 1) -> Sum:
    """A random problem of one family; `reading` 1 or 2 is how the ambiguous one is taken."""
    n, m = rng.sample(NAMES, 2)
    o = rng.choice(OBJECTS)
    left = (f"How many {o} does {n} have left?", f"{n} has {{y}} {o} left.")
    if family == 1:
        a, b = rng.randint(10, 40), rng.randint(10, 40)
        c = rng.randint(1, a + b - 1)
        y = a + b - c
        says = (f"{n} has {a} {o}.", f"{n} buys {b} more.", f"{n} gives away {c}.")
        forward = ((a, "+", b), (a + b, "-", c))
        inverse = (
            ((y, "+", c), (y + c, "-", b)),
            ((y, "+", c), (y + c, "-", a)),
            ((a, "+", b), (a + b, "-", y)),
        )
        return _sum(1, (a, b, c), says, left, forward, inverse)
    if family == 2:
        a, b = rng.randint(2, 12), rng.randint(2, 9)
        c = rng.randint(1, a * b - 1)
        y = a * b - c
        says = (f"{n} has {a} boxes.", f"Each box holds {b} {o}.", f"{n} loses {c}.")
        forward = ((a, "*", b), (a * b, "-", c))
        inverse = (
            ((y, "+", c), (y + c, "/", b)),
            ((y, "+", c), (y + c, "/", a)),
            ((a, "*", b), (a * b, "-", y)),
        )
        return _sum(2, (a, b, c), says, left, forward, inverse)
    if family == 3:
        a, b = rng.randint(10, 40), rng.randint(1, 40)
        y = 2 * a + b
        says = (f"{n} has {a} {o}.", f"{m} has {b} more than {n}.")
        asks = (f"How many {o} do they have in all?", f"They have {{y}} {o} in all.")
        forward = ((a, "+", b), (a, "+", a + b))
        inverse = (((y, "-", b), (y - b, "/", 2)), ((a, "+", a), (y, "-", 2 * a)))
        return _sum(3, (a, b), says, asks, forward, inverse)
    if family == 4:
        a, b, c = (rng.randint(10, 40) for _ in range(3))
        says = (f"{n} has {a} {o}.", f"{n} buys {b} more.", f"{m} has {c} hats.")
        asks = (f"How many {o} does {n} have?", f"{n} has {{y}} {o}.")
        inverse = (((a + b, "-", b),), ((a + b, "-", a),), None)
        return _sum(4, (a, b, c), says, asks, ((a, "+", b),), inverse)
    if family != AMBIGUOUS:
        raise ValueError(f"family {family}; families are {FAMILIES} and {AMBIGUOUS}")
    k = rng.choice([name for name in NAMES if name not in (n, m)])
    a, b = rng.sample(range(10, 41), 2)
    c = rng.randint(1, 40)
    says = (f"{n} has {a} {o}.", f"{m} has {b} {o}.", f"{k} has {c} more.")
    asks = (f"How many {o} does {k} have?", f"{k} has {{y}} {o}.")
    if reading == 1:
        inverse = (None, ((b + c, "-", c),), ((b + c, "-", b),))
        return _sum(5, (a, b, c), says, asks, ((b, "+", c),), inverse)
    inverse = (((a + c, "-", c),), None, ((a + c, "-", a),))
    return _sum(5, (a, b, c), says, asks, ((a, "+", c),), inverse)


def _sum(
    family: int,
    numbers: tuple[int, ...],
    sentences: tuple[str, ...],
    asks: tuple[str, str],
    forward: tuple[Step, ...],
    inverse: tuple[tuple[Step, ...] | None, ...],
) -> Sum:
    question, conclusion = asks
    conclusion = conclusion.format(y=value(forward[-1]))
    return Sum(family, numbers, sentences, question, conclusion, forward, inverse)


def held_out(rng: random.Random, family: int) -> Sum:
    """A problem whose numbers training never shows (in the conventional reading)."""
    while True:
        one = draw(rng, family)
        if one.held_out:
            return one


def training_text(rng: random.Random) -> tuple[str, str]:
    """(prompt, answer): forward 35 %, backward 35 %, true or false 10 %, rewriting 20 %.

    Backward examples hold true conclusions and recoverable numbers only, as the paper's exemplars
    do; a family-5 problem takes either reading, each as often.
    """
    while True:
        family = AMBIGUOUS if rng.random() < 0.1 else rng.choice(FAMILIES)
        one = draw(rng, family, rng.choice((1, 2)))
        if not one.held_out:
            break
    kind = rng.random()
    if kind < 0.35:
        return FORWARD.format(text=one.text), worked(one.forward, one.answer)
    if kind < 0.7:
        i = rng.choice([i for i, steps in enumerate(one.inverse) if steps])
        prompt = BACKWARD.format(context=one.masked(i), conclusion=one.conclusion)
        return prompt, worked(one.inverse[i], one.numbers[i])
    if kind < 0.8:
        return _true_or_false(one, rng)
    question = REWRITE.format(question=one.question, answer=one.answer)
    return question, f" {one.conclusion}"


def _true_or_false(one: Sum, rng: random.Random) -> tuple[str, str]:
    """A right or a slightly wrong conclusion, worked out forward and compared."""
    true = rng.random() < 0.5
    claimed = one.answer if true else max(0, one.answer + rng.choice((-1, 1)) * rng.randint(1, 10))
    true = claimed == one.answer
    conclusion = one.conclusion.replace(f" {one.answer} ", f" {claimed} ", 1)
    prompt = TRUE_FALSE.format(context=one.context, conclusion=conclusion)
    steps = worked(one.forward, true).removesuffix(f" The answer is {true}.")
    verdict = f" {claimed} is {'' if true else 'not '}{one.answer}. The answer is {true}."
    return prompt, steps + verdict
