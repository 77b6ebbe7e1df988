"""A gated reply token by token: who chose it, and how probable the model itself found it."""

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.generation.reply_logprobs import logprobs_of_ends
from workbench.models.model import Model
from workbench.models.prompts import Encoded
from workbench.papers.neural_comprehension.gate import Forced
from workbench.papers.neural_comprehension.vocabulary import vocabulary_of
from workbench.plots.style import BLUE, GREY, LEGEND_BELOW, RED, layout


def timeline(model: Model, entries: Sequence[Forced]) -> list[dict[str, Any]]:
    """The new tokens of a row, up to the end of its last answer, from its entries in a gate's log.

    A processor does not tell prompt and new tokens apart; there all but the first are shown.
    Rows of `token` (text), `forced`, the model's own `logprob` (nats), and whether it `agreed`: the
    token was its likeliest. Raises `ValueError` for entries that are of no one row.
    """
    if not entries:
        raise ValueError("there is no entry: the gate forced nothing in this row")
    last = max(entries, key=lambda entry: len(entry.before))
    ids, start = [*last.before, *last.ids], max(1, len(last.before) - last.step)
    forced: set[int] = set()
    for entry in entries:
        places = range(len(entry.before), len(entry.before) + len(entry.ids))
        if [*entry.before, *entry.ids] != ids[: places.stop]:
            raise ValueError(f"the answers {entry.answer!r} and {last.answer!r} are of two rows")
        forced |= set(places)
    text = Encoded(ids, start)
    (columns,) = logprobs_of_ends(model, [text], [len(ids) - start], ["the reply"], best=True)
    pieces = vocabulary_of(model.tokenizer).pieces
    return [
        {"token": pieces[ids[i]], "forced": i in forced, "logprob": own, "agreed": own == best}
        for i, (own, best) in enumerate(columns.tolist(), start)
    ]


def timeline_figure(rows: Sequence[dict[str, Any]], title: str) -> go.Figure:
    """Bars of the model's own probability, by who chose the token; crosses where they differ."""
    figure = go.Figure()
    for forced, name, colour in ((False, "the model's", GREY), (True, "the network's", BLUE)):
        places = [i for i, row in enumerate(rows) if row["forced"] is forced]
        figure.add_bar(
            x=places, y=[math.exp(rows[i]["logprob"]) for i in places], name=name,
            marker={"color": colour}, hovertext=[rows[i]["token"] for i in places],
        )  # fmt: skip
    against = [i for i, row in enumerate(rows) if row["forced"] and not row["agreed"]]
    figure.add_scatter(
        x=against, y=[math.exp(rows[i]["logprob"]) + 0.04 for i in against], mode="markers",
        name="against the model", marker={"color": RED, "symbol": "x", "size": 9},
    )  # fmt: skip
    tokens = [html.escape(row["token"].replace(" ", "␣").replace("\n", "⏎")) for row in rows]
    figure.update_xaxes(
        title="token", tickvals=list(range(len(rows))), ticktext=tokens, tickangle=0
    )
    figure.update_yaxes(title="the model's probability", range=[0, 1.1], tickformat=".0%")
    return layout(figure, title, legend=LEGEND_BELOW, bargap=0.1)
