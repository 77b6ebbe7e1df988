"""A chain of facts, step by step: what is read next, or whether the chain ends here (§2.3)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench import arguments
from workbench.retrieval.chains import MOST_DEPTH
from workbench.retrieval.graphs import ROOT, ScoredEdge
from workbench.retrieval.lexical import texts

STOP = -1
"""As a hop by hand: the chain ends here."""
_DIGITS = 5
"""Of a probability: the last bits are not the same on every machine."""


@dataclass(frozen=True, eq=False)
class Step:
    """Probabilities that each fact is read next, float64 `[facts]`, and that the chain ends.

    Facts that are read have 0. Each is a probability by itself: they need not add up to 1.
    """

    facts: np.ndarray
    stop: float

    def best(self, count: int) -> list[tuple[int, float]]:
        """The `count` most probable facts that may be read, with their probabilities."""
        order = np.argsort(-self.facts, kind="stable")[:count].tolist()
        return [(v, p) for v in order if (p := float(self.facts[v])) > 0]


Stepper = Callable[[str, Sequence[str], Sequence[int]], Step]
"""(question, facts, places read so far, in order) → the next step; `Nearest.step` is one.

What it is a method of may have `words`, as `Nearest` has.
"""


@dataclass(frozen=True)
class Chain:
    """Places of facts in reading order, the probability of each hop, and that of ending there.

    `stop` is None while a chain is still read.
    """

    facts: tuple[int, ...]
    probabilities: tuple[float, ...]
    stop: float | None

    @property
    def score(self) -> float:
        """The mean log-probability of its steps, in nats: its hops and its end.

        A probability of 0 (only a hop by hand or the end has it) counts as 0.00001.
        """
        odds = [*self.probabilities, *([] if self.stop is None else [self.stop])]
        logs = [math.log(max(p, 10.0**-_DIGITS)) for p in odds]
        return round(sum(logs) / max(len(logs), 1), _DIGITS)

    @property
    def edges(self) -> list[ScoredEdge]:
        """The chain as a graph: a path from the question."""
        return [*zip((ROOT, *self.facts[:-1]), self.facts, self.probabilities, strict=False)]


@dataclass(frozen=True)
class Chains:
    """A stepper as a function of a question and facts that gives its best chain by `follow`."""

    stepper: Stepper
    beam: int = 1
    most: int = MOST_DEPTH

    def __call__(self, question: str, facts: Sequence[str]) -> Chain:
        """The best chain. Raises as `follow`."""
        return follow(self.stepper, question, facts, beam=self.beam, most=self.most)[0]

    @property
    def words(self) -> Callable[[Sequence[str], str], list[tuple[str, float]]]:
        """That of the stepper, or of what it is a method of. Raises `AttributeError` for none."""
        return getattr(self.stepper, "__self__", self.stepper).words


def follow(
    stepper: Stepper,
    question: str,
    facts: Sequence[str],
    *,
    beam: int = 1,
    most: int = MOST_DEPTH,
    forced: Mapping[int, int] | None = None,
) -> list[Chain]:
    """Up to `beam` chains of at most `most` facts, the best first.

    At each step a chain ends or reads one more fact; of all chains, ended or not, the `beam` with
    the highest mean log-probability stay, of equal ones the first in places. A chain may be empty.
    `forced`: hops by hand, step (from 0) → place, or `STOP` as the last; the steps between them and
    after them follow. Raises `ValueError` for a question or facts that are no texts, numbers out of
    range, hops by hand that no chain can have, and a stepper whose probabilities are none.

    >>> follow(Nearest(wb.load_encoder("minilm")).step, question, facts, beam=4)[0].facts
    """
    texts("question", [question])
    facts = texts("facts", facts)
    arguments.whole("beam", beam, 1)
    arguments.whole("most", most, 1)
    forced = _by_hand(forced or {}, len(facts), most)
    chains, last = [Chain((), (), None)], max(forced, default=-1)
    for level in range(min(most, len(facts)) + 1):
        ahead = {v for j, v in forced.items() if j > level}
        grown = [chain for chain in chains if chain.stop is not None]
        for chain in (chain for chain in chains if chain.stop is None):
            read = chain.facts
            step = checked(stepper(question, facts, read), len(facts), read)
            options = [forced[level]] if level in forced else []
            if level not in forced and level < most:
                order = np.argsort(-step.facts, kind="stable").tolist()
                likely = [v for v in order if step.facts[v] > 0 or level < last]
                options = [v for v in likely if v not in ahead and v not in read][:beam]
            if level > last:
                options.append(STOP)
            for v in options:
                if v == STOP:
                    grown.append(Chain(read, chain.probabilities, step.stop))
                else:
                    odds = (*chain.probabilities, float(step.facts[v]))
                    grown.append(Chain((*read, v), odds, None))
        chains = sorted(grown, key=lambda chain: (-chain.score, chain.facts))[:beam]
    return chains


def checked(step: Step, count: int, read: Sequence[int]) -> Step:
    """A step with probabilities rounded to 5 digits.

    Raises `ValueError` unless it has one from 0 to 1 for each of `count` facts and for the end, and
    0 for those `read`.
    """
    if not isinstance(step, Step):
        raise ValueError(f"the stepper gave {step!r:.60}; it must give a Step")
    odds, most = np.asarray(step.facts, np.float64), np.ones(count)
    if odds.shape != most.shape:
        raise ValueError(f"the stepper gave probabilities {list(odds.shape)} for {count} facts")
    most[list(read)] = 0
    for v in np.flatnonzero(~((odds >= 0) & (odds <= most)))[:1]:
        allowed = "not from 0 to 1" if most[v] else "though it is read: it must have 0"
        raise ValueError(f"the stepper gave fact {v} the probability {odds[v]}, {allowed}")
    stop = arguments.finite("the stepper's stop", step.stop, 0, 1)
    return Step(odds.round(_DIGITS), round(stop, _DIGITS))


def _by_hand(forced: Mapping[int, int], count: int, most: int) -> dict[int, int]:
    """The hops by hand in order of steps; refused where no chain can have them."""
    hops = {arguments.whole("step of forced", j, 0, most): v for j, v in forced.items()}
    last = max(hops, default=0)
    for j, v in sorted(hops.items()):
        arguments.whole(f"forced[{j}]", v, STOP if j == last else 0, count - 1)
    if last >= most and hops[last] != STOP:
        raise ValueError(f"forced[{last}]: a chain has at most most={most} facts, steps 0 on")
    if last >= count + (hops.get(last) == STOP):
        raise ValueError(f"forced[{last}]: there are {count} facts for the steps before it")
    arguments.different("forced", [*hops.values()])
    return dict(sorted(hops.items()))
