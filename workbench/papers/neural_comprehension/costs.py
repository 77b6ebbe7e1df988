"""What the gate costs a step, and texts in which it must not fire."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from workbench.data.preferences import load_data
from workbench.generation.complete import complete
from workbench.generation.requests import GenRequest
from workbench.generation.rules import RowTokens, Rule
from workbench.models.model import Model
from workbench.models.prompts import encode_all
from workbench.papers.neural_comprehension import prompts
from workbench.papers.neural_comprehension.paper import Settings
from workbench.papers.neural_comprehension.tasks import task

ROWS, DIGITS, NEW = 8, 20, 32
"""Sums side by side whose decoding is timed, their digits, and the tokens of each."""
SIGNS = (
    "In the code, x = y and y = x + 1, so x never settles.",
    "E = mc2 is the one formula that everybody can quote.",
    "The rule is A -> B, and from B -> C follows A -> C.",
    "Set width=100% and height=auto, then reload the page.",
    "The final score was 3-2, which is to say they lost again.",
    "Call me between 9-12 or 14-18; the number is 555-0147.",
    "Revenue was 1,204 + 3.5 million = more than we thought.",
    "if (a == b) return a; else return b;",
    "The reverse of a coin is called tails, and the front heads.",
    "A copy of the letter = proof enough for the court.",
    "Her last letter = a short one, and a sad one.",
    "2x + 3 = 7 has one solution, and 2x + 3 = 2x has none.",
    "-7 + 12 = is how the exercise began, with a sign in front.",
    "3.5+4.5= was printed on the receipt, nobody knew why.",
    "Rate: 1e5-2e3= in the notation of the lab.",
    "He flips a coin -> it lands on the table -> it rolls away.",
)
"""Texts with a gate's trigger, in which nothing asks for what a network computes."""


@dataclass(frozen=True)
class Costs:
    """`ratios`: time of a step with the gate to that without, per pair; `idle`: where it never
    fires. `parts`: seconds of a step by what takes them, the gate asked once a sum. `fired`:
    per ordinary text, how often.
    """

    ratios: list[float]
    idle: list[float]
    parts: dict[str, float]
    fired: list[int]


def measure(model: Model, settings: Settings) -> dict[str, object]:
    """`Costs` as JSON: gated and plain decoding in turn, `settings.repeats` times each."""
    rng, gate = random.Random(0), prompts.gate()
    sums = [task("addition").draw(rng, DIGITS) for _ in range(ROWS)]
    asked = [prompts.put("addition", each, settings.shots) for each in sums]
    ordinary = texts(settings.texts)
    ratios, plain, steps = _paired(model, asked, settings.repeats)
    idle, *_ = _paired(model, ordinary[-ROWS:], settings.repeats)
    gate.triggers(model)
    rows = [RowTokens(tuple(encoded.ids), ()) for encoded in encode_all(model, asked)]
    asks = partial(task("addition").run, sums), partial(gate.forced, model, rows)
    times = [[_seconds(ask) for ask in asks] for _ in range(settings.repeats + 1)]
    network, both = (min(column) / steps for column in zip(*times, strict=True))
    parts = {"model": plain, "asking the gate": max(0.0, both - network), "network": network}
    return {"ratios": ratios, "idle": idle, "parts": parts, "fired": fired(model, ordinary)}


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _paired(model: Model, asked: Sequence[str], repeats: int) -> tuple[list[float], float, int]:
    """(ratio of the seconds of a step with and without the gate, per pair, the median of those
    without, and the number of steps with it)."""
    requests = [GenRequest(prompt, max_new_tokens=NEW) for prompt in asked]
    steps: dict[Rule | None, int] = {}

    def decode(rule: Rule | None) -> None:
        results = complete(model, requests, rule=rule)
        steps[rule] = max(result.samples[0].n_tokens for result in results)

    gate = prompts.gate()
    decode(gate), decode(None)  # networks are compiled at their first call
    pairs = []
    for i in range(repeats):
        order = (None, gate) if i % 2 else (gate, None)
        seconds = {rule: _seconds(partial(decode, rule)) / steps[rule] for rule in order}
        pairs.append((seconds[gate], seconds[None]))
    return [a / b for a, b in pairs], statistics.median(b for _, b in pairs), steps[gate]


def texts(count: int) -> list[str]:
    """Ordinary texts: those with a trigger first, then requests and answers, prose of ours."""
    pairs = [pair for name in ("preference", "styles") for pair in load_data(name, source="small")]
    return [*SIGNS, *(pair[side] for pair in pairs for side in ("chosen", "rejected"))][:count]


def fired(model: Model, ordinary: Sequence[str]) -> list[int]:
    """How often a gate would have forced something, per text, asked behind each of its tokens."""
    gate, counts = prompts.gate(), []
    triggers = gate.triggers(model)
    for encoded in encode_all(model, ordinary):
        ends = [i for i, token in enumerate(encoded.ids, 1) if not triggers or token in triggers]
        rows = [RowTokens(tuple(encoded.ids[:end]), ()) for end in ends]
        counts.append(sum(map(bool, gate.forced(model, rows))) if rows else 0)
    return counts
