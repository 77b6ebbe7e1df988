"""A scripted solver in place of a model: what it answers, and its accuracy in closed form."""

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from math import comb

from workbench.data.problems import Problem
from workbench.generation.requests import Sample
from workbench.papers.self_verification.paper import Settings


@dataclass
class ScriptedGenerator:
    """A backend that answers with `reply(prompt, sample index, seed)`; counts what it draws."""

    reply: object
    name: str = "scripted"
    by_place: bool = False
    asked: list = field(default_factory=list)  # (stage, prompt, sample index), as drawn

    def identity(self):
        return {"kind": "scripted", "name": self.name}

    def check(self, requests):
        pass

    def draw(self, requests, missing):
        for place, (request, indices) in enumerate(zip(requests, missing, strict=True)):
            drawn = []
            for i in indices:
                self.asked.append((request.stage, request.prompt, i))
                text = self.reply(request.prompt, i, request.seed)
                drawn.append((place, i, Sample(text, "stop", len(text.split()), 1)))
            yield drawn

    def stages(self):
        return [stage for stage, _, _ in self.asked]

    def prompts(self, stage):
        return list(dict.fromkeys(p for s, p, _ in self.asked if s == stage))


def uniform(*parts):
    """A number in [0, 1) from all of `parts`."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


# ---- a world of known reliability

WRONG = 2


@dataclass
class World:
    """Problems "P7 has 12 pens. P7 buys 60 more." and a solver of known reliability.

    Forward it is right with probability 1 - e and else gives one of two wrong answers alike. It
    recovers a masked number (or affirms) with probability a from the right conclusion, b from a
    wrong one.
    """

    e: float = 0.5
    a: float = 0.45
    b: float = 0.25

    def numbers(self, i):
        return 10 + i % 31, 50 + i % 41

    def answers(self, i):
        right = sum(self.numbers(i))
        return [right, right + 1, right - 7]

    def problems(self, count):
        return [
            Problem(str(i), "sums", "P{0} has {1} pens. P{0} buys {2} more.".format(
                i, *self.numbers(i)), f"How many pens does P{i} have?", str(self.answers(i)[0]))
            for i in range(count)
        ]  # fmt: skip

    def reply(self, prompt, index, seed):
        i = int(re.search(r"P(\d+) ", prompt)[1])
        u = uniform("reply", prompt, index, seed)
        right, *wrong = self.answers(i)
        stated = re.findall(r"\d+", re.sub(r"P\d+", "", prompt))
        if "Please change" in prompt:
            return f" P{i} has {stated[-1]} pens."
        if '"' not in prompt:
            given = right if u >= self.e else wrong[int(u / self.e * WRONG)]
            return f" The answer is {given}."
        concluded = int(stated[-1])
        assert concluded in self.answers(i)
        good = u < (self.a if concluded == right else self.b)
        if "'X'" not in prompt:
            yes, no = ("yes", "no") if "(yes or no)" in prompt else ("True", "False")
            return f" The answer is {yes if good else no}."
        masked = self.numbers(i)["buys 'X'" in prompt]
        assert str(masked) not in stated[:-1]
        return f" The answer is {masked if good else masked + 1}."

    def expected(self, k, samples):
        """The accuracy of SV with that many verification samples a candidate, exactly.

        Over all sequences of k answers: the right one must be among them and win against those
        before it strictly, against those after it by no less, all scores being binomial.
        """
        chances = [1 - self.e] + [self.e / WRONG] * WRONG
        total = 0.0
        for drawn in itertools.product(range(WRONG + 1), repeat=k):
            order = list(dict.fromkeys(drawn))
            if 0 not in order:
                continue
            chance = 1.0
            for answer in drawn:
                chance *= chances[answer]
            before = order.index(0)
            total += chance * self.wins(before, len(order) - before - 1, samples)
        return total

    def wins(self, before, after, samples):
        if not before + after:
            return 1.0
        wrong = [binomial(samples, self.b, s) for s in range(samples + 1)]
        return sum(
            binomial(samples, self.a, s) * sum(wrong[:s]) ** before * sum(wrong[: s + 1]) ** after
            for s in range(samples + 1)
        )


def binomial(n, p, k):
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def accuracy(found):
    return sum(v.correct for v in found) / len(found)


# ---- one question


def script(forward, rewrite=None, backward=" The answer is True."):
    """A solver of one question: forward answers in order, one sentence, one reply backward."""

    def reply(prompt, index, seed):
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        if "Please change" in text:
            return rewrite(text) if callable(rewrite) else rewrite
        if "'X'?" in text.split("\n\n")[-1] or (text.endswith(("?\nA:", "?")) and '" ' in text):
            return backward
        return forward[index]

    return ScriptedGenerator(reply)


def answers(*given):
    return [f" The answer is {a}." for a in given]


PENS = Problem("1", "gsm8k", "Tom has 50 pens. He loses 5.", "How many has he?", "45")
BARE = Settings(k=2, p=1)


def last_question(prompt):
    return prompt.split("\n\n")[-1]


def statements(solver):
    """What was put to the verifier, without exemplars."""
    return [re.fullmatch(r'Q: "(.*)" [^"]*\nA:', last_question(p))[1]
            for p in solver.prompts("backward")]  # fmt: skip
