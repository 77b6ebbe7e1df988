"""Sums of Brindle: a small grammar of arithmetic word problems, worked out in both directions.

Five families. In 1 to 3 every stated number can be recovered from the rest and the answer; in 4 one
number is a distractor, which nothing recovers; 5 is ambiguous ("has 5 more": than the one before,
which counts as right, or than the first?), its two readings are trained alike in both directions,
and a wrong reading therefore survives re-derivation: verification is expected not to help there.

The prompts are those of Self-Verification without exemplars; whoever changes a prompt there must
train the model again (a test compares them).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.hashing import digest

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
"""Left operand, one of + - * /, right operand."""


@dataclass(frozen=True)
class Sum:
    """One problem: sentences that each state one number, and the steps between them.

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
        """All sentences but the question."""
        return " ".join(self.sentences)

    @property
    def text(self) -> str:
        """Context and question."""
        return f"{self.context} {self.question}"

    @property
    def answer(self) -> int:
        """The result of the last forward step."""
        return value(self.forward[-1])

    @property
    def held_out(self) -> bool:
        """Whether these numbers are kept for tests."""
        return int(digest(f"{self.family}:{sorted(self.numbers)}", 2), 16) % HELD_OUT == 0

    def masked(self, i: int) -> str:
        """The context with the number of sentence i replaced by 'X'."""
        sentences = list(self.sentences)
        sentences[i] = sentences[i].replace(f" {self.numbers[i]}", " 'X'", 1)
        return " ".join(sentences)


def value(step: Step) -> int:
    """The result of a step; divisions come out even."""
    a, sign, b = step
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[sign]


def worked(steps: Sequence[Step], answer: object) -> str:
    """Text of steps and answer, as the model writes them."""
    lines = [f" {a} {sign} {b} = {value((a, sign, b))}." for a, sign, b in steps]
    return "".join(lines) + f" The answer is {answer}."


def draw(rng: random.Random, family: int, reading: int = 1) -> Sum:
    """Draw a problem of one family; `reading` 1 or 2 is how the ambiguous one is taken.

    Raises `ValueError` for another family.
    """
    name, other = rng.sample(NAMES, 2)
    things = rng.choice(OBJECTS)
    has = "{} has {} {}.".format
    if family in (1, 2):
        if family == 1:
            a, b, sign, undone = rng.randint(10, 40), rng.randint(10, 40), "+", "-"
            before = (has(name, a, things), f"{name} buys {b} more.")
        else:
            a, b, sign, undone = rng.randint(2, 12), rng.randint(2, 9), "*", "/"
            before = (has(name, a, "boxes"), f"Each box holds {b} {things}.")
        total = value((a, sign, b))
        c = rng.randint(1, total - 1)
        y = total - c
        numbers = (a, b, c)
        sentences = (*before, f"{name} {'gives away' if family == 1 else 'loses'} {c}.")
        asked = (f"How many {things} does {name} have left?", f"{name} has {{}} {things} left.")
        forward = ((a, sign, b), (total, "-", c))
        inverse = (
            ((y, "+", c), (y + c, undone, b)),
            ((y, "+", c), (y + c, undone, a)),
            ((a, sign, b), (total, "-", y)),
        )
    elif family == 3:
        a, b = rng.randint(10, 40), rng.randint(1, 40)
        y = 2 * a + b
        numbers = (a, b)
        sentences = (has(name, a, things), f"{other} has {b} more than {name}.")
        asked = (f"How many {things} do they have in all?", f"They have {{}} {things} in all.")
        forward = ((a, "+", b), (a, "+", a + b))
        inverse = (((y, "-", b), (y - b, "/", 2)), ((a, "+", a), (y, "-", 2 * a)))
    elif family == 4:
        numbers = (a, b, c) = tuple(rng.randint(10, 40) for _ in range(3))
        sentences = (has(name, a, things), f"{name} buys {b} more.", has(other, c, "hats"))
        asked = (f"How many {things} does {name} have?", has(name, "{}", things))
        forward = ((a, "+", b),)
        inverse = (((a + b, "-", b),), ((a + b, "-", a),), None)
    elif family == AMBIGUOUS:
        third = rng.choice([n for n in NAMES if n not in (name, other)])
        a, b = rng.sample(range(10, 41), 2)
        c = rng.randint(1, 40)
        numbers = (a, b, c)
        sentences = (has(name, a, things), has(other, b, things), f"{third} has {c} more.")
        asked = (f"How many {things} does {third} have?", has(third, "{}", things))
        base = b if reading == 1 else a
        forward = ((base, "+", c),)
        of_base, of_c = ((base + c, "-", c),), ((base + c, "-", base),)
        inverse = (None, of_base, of_c) if reading == 1 else (of_base, None, of_c)
    else:
        raise ValueError(f"family {family}; families are {FAMILIES} and {AMBIGUOUS}")
    question, conclusion = asked
    conclusion = conclusion.format(value(forward[-1]))
    return Sum(family, numbers, sentences, question, conclusion, forward, inverse)


def held_out(rng: random.Random, family: int) -> Sum:
    """Draw a problem whose numbers training never shows (in the conventional reading)."""
    while True:
        problem = draw(rng, family)
        if problem.held_out:
            return problem


def training_text(rng: random.Random) -> tuple[str, str]:
    """Draw (prompt, answer): forward 35 %, backward 35 %, true or false 10 %, rewriting 20 %.

    Backward examples hold true conclusions and recoverable numbers only, as the paper's exemplars
    do; a family-5 problem takes either reading, each as often.
    """
    while True:
        family = AMBIGUOUS if rng.random() < 0.1 else rng.choice(FAMILIES)
        problem = draw(rng, family, rng.choice((1, 2)))
        if not problem.held_out:
            break
    kind = rng.random()
    if kind < 0.35:
        return FORWARD.format(text=problem.text), worked(problem.forward, problem.answer)
    if kind < 0.7:
        i = rng.choice([i for i, steps in enumerate(problem.inverse) if steps])
        prompt = BACKWARD.format(context=problem.masked(i), conclusion=problem.conclusion)
        return prompt, worked(problem.inverse[i], problem.numbers[i])
    if kind < 0.8:
        return _true_or_false(problem, rng)
    prompt = REWRITE.format(question=problem.question, answer=problem.answer)
    return prompt, f" {problem.conclusion}"


def _true_or_false(problem: Sum, rng: random.Random) -> tuple[str, str]:
    """A right or a slightly wrong conclusion, worked out forward and compared."""
    answer = claimed = problem.answer
    if rng.random() >= 0.5:
        claimed = max(0, answer + rng.choice((-1, 1)) * rng.randint(1, 10))
    true = claimed == answer
    conclusion = problem.conclusion.replace(f" {answer} ", f" {claimed} ", 1)
    prompt = TRUE_FALSE.format(context=problem.context, conclusion=conclusion)
    steps = worked(problem.forward, true).removesuffix(f" The answer is {true}.")
    verdict = f" {claimed} is {'' if true else 'not '}{answer}. The answer is {true}."
    return prompt, steps + verdict
