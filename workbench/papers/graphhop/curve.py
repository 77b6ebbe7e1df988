"""Retrieval as the database grows: is the fact that a question begins with among the nearest?

Databases are whole worlds of 10² to 10⁶ sentences, so that what is added is as like the gold facts
as they are to each other; questions are of one, two and three hops. Nothing is trained.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import plotly.graph_objects as go

from workbench.evaluation.intervals import SHARE
from workbench.evaluation.metrics import measured, spelled
from workbench.models.encoders import Encoder
from workbench.papers.graphhop.hops import HOPS, Asked, chains
from workbench.papers.workers import Keep
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout
from workbench.retrieval.lexical import Bm25, ranked
from workbench.retrieval.search import top_k
from workbench.worlds.facts import World

RANKS = (1, 5, 20)
EACH = 20
"""Questions of each number of hops."""
SIZES = tuple(10**i for i in range(2, 7))
SENTENCES = 700
"""Of a world of size 1, about."""
PART = 8192
"""Sentences encoded at once."""
DASHES = ("solid", "dash", "dot")
Curve = dict[str, dict[str, dict[str, list[int]]]]
"""Method → sentences → rank → 1 or 0 for each question: its first fact is that near."""


def run(encoder: Encoder, largest: int, keep: Keep) -> Curve:
    """BM25 and the encoder as it comes, each database a step of `keep`; of up to `largest` for it.

    BM25 goes on to a hundred times as many: its index costs little, and vectors do (MiniLM: an hour
    and a half of one core for 10⁶). Nothing where `largest` is 0.

    >>> curve.run(wb.load_encoder("minilm"), 10_000, partial(cached, "out/cache"))
    """
    out: Curve = {"bm25": {}, encoder.name: {}}
    for size in SIZES:
        if size <= 100 * largest:
            step = partial(lexical, size)
            out["bm25"][str(size)] = keep(f"curve-bm25-{size}", {"size": size}, step)
        if size <= largest:
            key = {"size": size, "encoder": encoder.identity()}
            out[encoder.name][str(size)] = keep(f"curve-{size}", key, partial(dense, encoder, size))
    return {method: of_sizes for method, of_sizes in out.items() if of_sizes}


def database(size: int) -> tuple[list[str], list[Asked]]:
    """A test world of about `size` sentences, and its questions."""
    world = World("test", 0, size / SENTENCES)
    asked = [question for hops in HOPS for question in chains(world, EACH, hops)]
    return [fact.text for fact in world.facts], asked


def lexical(size: int) -> dict[str, list[int]]:
    """By BM25, over the whole database."""
    facts, asked = database(size)
    bm25 = Bm25(facts)
    return _recalls(asked, [ranked(bm25.scores(q.question), RANKS[-1]) for q in asked])


def dense(encoder: Encoder, size: int) -> dict[str, list[int]]:
    """By cosine, a part of the database at a time: no vector is needed twice."""
    facts, asked = database(size)
    queries = encoder.encode([q.question for q in asked])
    best: list[list[tuple[float, int]]] = [[] for _ in asked]
    for start in range(0, len(facts), PART):
        vectors = encoder.encode(facts[start : start + PART])
        scores, places = top_k(queries, vectors, min(RANKS[-1], len(vectors)))
        for row, cosines, at in zip(best, scores.tolist(), places.tolist(), strict=True):
            row += [(-cosine, start + place) for cosine, place in zip(cosines, at, strict=True)]
            row.sort()
            del row[RANKS[-1] :]
    return _recalls(asked, [[place for _, place in row] for row in best])


def _recalls(asked: Sequence[Asked], near: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    pairs = list(zip(asked, near, strict=True))
    return {str(k): [int(q.places[0] in places[:k]) for q, places in pairs] for k in RANKS}


def metrics(curve: Curve) -> list[dict[str, Any]]:
    """`recall_<rank>_<method>_<sentences>`: share of questions, 95 % intervals over them."""
    return [
        measured(f"recall_{rank}_{method}_{size}", values, "questions", limits=SHARE)
        for method, of_sizes in curve.items()
        for size, of_ranks in of_sizes.items()
        for rank, values in of_ranks.items()
    ]


def rows(curve: Curve) -> list[dict[str, Any]]:
    """The table: a row for each method and database, percent with intervals."""
    out = []
    for method, of_sizes in curve.items():
        for size, of_ranks in of_sizes.items():
            row: dict[str, Any] = {"method": method, "sentences": int(size)}
            for rank, values in of_ranks.items():
                share = measured(rank, values, "questions", limits=SHARE)
                ends = share["ci95"] and [100 * end for end in share["ci95"]]
                row[f"recall@{rank}"] = f"{100 * share['value']:.0f} {spelled(ends, '.0f')}"
            out.append(row | {"n": len(values)})
    return out


def figure(curve: Curve) -> go.Figure:
    """Recall by sentences, a colour for each method, a dash for each rank."""
    drawn = go.Figure()
    for colour, (method, of_sizes) in zip(COLOURS, curve.items(), strict=False):
        for rank, dash in zip(RANKS, DASHES, strict=True):
            shares = [sum(ranks[str(rank)]) / len(ranks[str(rank)]) for ranks in of_sizes.values()]
            drawn.add_scatter(
                x=[int(size) for size in of_sizes], y=shares, name=f"{method} @{rank}",
                mode="lines+markers", line={"color": colour, "dash": dash},
            )  # fmt: skip
    drawn.update_yaxes(range=[0, 1.03], tickformat=".0%").update_xaxes(
        type="log", title="sentences"
    )
    title = "A question's first fact among the nearest, by the size of the database"
    return layout(drawn, title, 420, legend=LEGEND_BELOW)
