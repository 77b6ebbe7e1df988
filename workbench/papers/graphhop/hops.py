"""The demonstration on a real encoder: hops over a whole database, in one shot and iterated.

A good encoder finds the fact that a question names, and cannot hop. Two copies of it are fitted
with equal steps: one to question + facts read → next fact, its twin to question → each fact.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go

from workbench.evaluation.intervals import GAIN, SHARE
from workbench.evaluation.metrics import measured, spelled
from workbench.models.encoders import Encoder
from workbench.papers.workers import Keep
from workbench.paths import small_folder
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout
from workbench.retrieval.evidence_files import read_evidence
from workbench.retrieval.graphs import reading_order
from workbench.retrieval.index import Index
from workbench.retrieval.iterate import iterated, one_shot
from workbench.retrieval.towers import Contrast, Pair
from workbench.retrievers import hops as fitting
from workbench.retrievers.hops import SETTINGS, WAYS, Asked, different
from workbench.worlds.evidence import FAMILIES
from workbench.worlds.facts import World

HOPS = (1, 2, 3)
FAMILIES_OF = {
    1: ("lookup_attribute", "lookup_relation"), 2: ("bridge_of_two",), 3: ("bridge_of_three",)
}  # fmt: skip
ENCODERS = ("zeroshot", "finetuned")
LAKE, FIRST_WORLD = "lake", 50
"""The group of the hand-written questions; the number of the first world that is asked about."""
DASHES = ("dot", "dash", "dashdot", "solid")
Scored = dict[str, dict[str, list[int]]]
"""`<encoder>_<way>` → `"1"`, `"2"`, `"3"` hops, `"lake"` → 1 or 0 for each question."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """Of the demonstration: `rounds` of training, each a new world with new names, and `pairs` of
    one; the `worlds` that are asked about."""

    rounds: int = 8
    pairs: int = 96
    worlds: int = 2


SIZE = Size()


def chains(world: World, count: int, hops: int) -> list[Asked]:
    """Different questions of one chain of so many facts; the same in every process.

    Raises `DatasetError` where the world has too few.
    """
    rng, names = random.Random(f"{world.name} {hops}"), FAMILIES_OF[hops]

    def draw(number: int) -> Asked | None:
        draft = FAMILIES[names[number % len(names)]](world, rng)
        return Asked(draft.question, tuple(v for _, v in draft.edges)) if draft else None

    return different(count, draw, f"{world.name}: questions of {hops} hops")


def pairs(world: World, count: int, way: str) -> list[Pair]:
    """Pairs of chains of 1, 2 and 3 hops in turn, for one of `WAYS`."""
    of_hops = (chains(world, count // 6 + 1, hops) for hops in HOPS)
    asked = [of_one for row in zip(*of_hops, strict=True) for of_one in row]
    facts = world.facts
    texts, relations = ([getattr(f, name) for f in facts] for name in ("text", "relation"))
    return fitting.pairs(asked, texts, relations, way, f"{world.name} decoys")[:count]


def finetuned(
    encoder: Encoder, way: str, seed: int, size: Size, settings: Contrast = SETTINGS
) -> Encoder:
    """The encoder fitted for one of `WAYS`, negatives mined anew in each round's whole world."""

    def draw(number: int) -> tuple[list[str], list[Pair]]:
        world = World("train", number)
        return [fact.text for fact in world.facts], pairs(world, size.pairs, way)

    return fitting.finetuned(encoder, draw, size.rounds, seed, settings)


def exact(index: Index, asked: Sequence[Asked], way: str) -> list[int]:
    """For each question 1 where the facts that are found are those of its chain, else 0.

    Over the whole database, as many facts as the chain has (an oracle: "oracle m").
    """
    questions, counts = [a.question for a in asked], [len(a.places) for a in asked]
    if way == "iterated":
        readings = [held[0] for held in iterated(index, questions, counts)]
    else:
        readings = one_shot(index, questions, counts)
    return [int({*r.facts} == {*a.places}) for r, a in zip(readings, asked, strict=True)]


def lake() -> tuple[list[str], list[Asked]]:
    """The hand-written database in ordinary English and its questions, which no template made."""
    rows = read_evidence(small_folder() / "lake.json")
    return list(rows[0].facts), [Asked(q.question, tuple(reading_order(q.edges))) for q in rows]


def run(encoder: Encoder, seed: int, asked: int, keep: Keep, size: Size = SIZE) -> Scored:
    """All encoders and ways over test worlds and the lake; `asked` questions of each of `HOPS`.

    Each training with what it is asked is a step of `keep`, as is the encoder as it
    comes. Nothing for 0 questions, or `"lex"`: hashed words have no meaning to begin with.

    >>> scores = run(wb.load_encoder("minilm"), 0, 100, partial(cached, "out/cache"))
    """
    if asked and encoder.name == "lex":
        log.warning("hashed words (lex) have no meaning: the demonstration of hops is left out")
    if not asked or encoder.name == "lex":
        return {}
    out: Scored = {}
    for name in ENCODERS:
        for way in WAYS:
            key = {"encoder": encoder.identity(), "asked": asked, "worlds": size.worlds}
            if name == "finetuned":
                key |= {"seed": seed, "size": asdict(size), "settings": asdict(SETTINGS)}
            step = partial(_step, encoder, name, way, seed, asked, size)
            out[f"{name}_{way}"] = keep(f"hops-{name}-{way}", key, step)
    return out


def _step(
    encoder: Encoder, name: str, way: str, seed: int, asked: int, size: Size
) -> dict[str, list[int]]:
    if name == "finetuned":
        encoder = finetuned(encoder, way, seed, size)
    return answered(encoder, way, asked, size.worlds)


def answered(
    encoder: Encoder, way: str, asked: int, worlds: int, split: str = "test"
) -> dict[str, list[int]]:
    """`exact` by the number of hops, over `worlds` of a split, and of the lake's questions."""
    facts, questions = lake()
    bases = [(facts, {LAKE: questions})]
    for number in range(worlds):
        world = World(split, FIRST_WORLD + number)
        of_world = asked * (number + 1) // worlds - asked * number // worlds
        groups = {str(n): chains(world, of_world, n) for n in HOPS} if of_world else {}
        bases.append(([fact.text for fact in world.facts], groups))
    out: dict[str, list[int]] = {}
    for facts, groups in bases:
        index = Index(encoder.encode(facts).numpy(), encoder, facts)
        for group, of_group in groups.items():
            out.setdefault(group, []).extend(exact(index, of_group, way))
    return out


def metrics(scores: Scored, encoder: str) -> list[dict[str, Any]]:
    """`minilm_<zeroshot, finetuned>_<way>_<hops>`: set EM, 95 % intervals over questions.

    Of another encoder than MiniLM they begin with `encoder`.
    `gain_…_<hops>`: fitted and iterated less its twin in one shot; `…_zeroshot_1`: less the encoder
    as it comes. Same questions.
    """
    encoder = "minilm" if encoder == "minilm" else "encoder"
    rows = [
        measured(f"{encoder}_{method}_{group}", values, "questions", limits=SHARE)
        for method, groups in scores.items()
        for group, values in groups.items()
    ]
    for name, other, groups in (("oneshot", "finetuned_oneshot", ("1", "2", "3", LAKE)),
                                ("zeroshot", "zeroshot_iterated", ("1",))):  # fmt: skip
        for group in groups if scores else ():
            pairs = zip(scores["finetuned_iterated"][group], scores[other][group], strict=True)
            gains = [a - b for a, b in pairs]
            name_of_gain = f"gain_{encoder}_iterated_{name}_{group}"
            rows.append(measured(name_of_gain, gains, "questions", limits=GAIN))
    return rows


def rows(scores: Scored) -> list[dict[str, Any]]:
    """The table: each encoder and way by hops, percent of questions with exactly the gold facts."""
    out = []
    for method, groups in scores.items():
        row: dict[str, Any] = {"encoder and way": method.replace("_", ", ")}
        for group, values in groups.items():
            of_group = measured(group, values, "questions", limits=SHARE)
            ends = of_group["ci95"] and [100 * end for end in of_group["ci95"]]
            name = f"{group} (n {len(values)})"
            row[name] = f"{100 * of_group['value']:.1f} {spelled(ends, '.0f')}"
        out.append(row)
    return out


def figure(scores: Scored) -> go.Figure:
    """Set EM by hops, a line for each encoder and way; 95 % intervals as bars."""
    drawn = go.Figure()
    for i, (method, groups) in enumerate(scores.items()):
        of_hops = [measured(g, groups[g], "questions", limits=SHARE) for g in map(str, HOPS)]
        values = [row["value"] for row in of_hops]
        ends = [row["ci95"] for row in of_hops]
        drawn.add_scatter(
            x=[row["name"] for row in of_hops], y=values, name=method.replace("_", ", "),
            mode="lines+markers", line={"color": COLOURS[i], "dash": DASHES[i]},
            error_y={"type": "data", "symmetric": False, "thickness": 1,
                     "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
                     "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)]},
        )  # fmt: skip
    drawn.update_yaxes(range=[0, 1.03], tickformat=".0%")
    title = "Exactly the chain's facts, by hops, over the whole database"
    return layout(drawn.update_xaxes(type="category"), title, 420, legend=LEGEND_BELOW)
