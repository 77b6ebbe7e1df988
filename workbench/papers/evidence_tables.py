"""Shares, differences and cells, as the tables of papers on evidence have them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.evaluation.intervals import GAIN, SHARE
from workbench.evaluation.metrics import measured, over_seeds, spelled
from workbench.retrieval.graphs import Evidence

Values = tuple[Sequence[Sequence[float]], Sequence[Sequence[str]]]
"""Numbers, and the questions' ids, both `[seed][question]`."""


def of_questions(
    test: Sequence[Evidence],
    scores: Sequence[Sequence[object]],
    name: str,
    of: Callable[[Evidence], bool],
) -> Values:
    """The score so named of each of the questions that are asked for; `scores[seed][question]`."""
    chosen = [i for i, question in enumerate(test) if of(question)]
    values = [[float(getattr(seed[i], name)) for i in chosen] for seed in scores]
    return values, [[test[i].id for i in chosen] for _ in values]


def share(
    name: str, values: Values, published: tuple[float | None, str | None] = (None, None)
) -> list[dict[str, Any]]:
    """A mean over questions with an interval over questions and seeds; none without a question."""
    numbers, ids = values
    units = over_seeds(numbers, questions=ids)
    return [measured(name, *units, published, limits=SHARE)] if ids[0] else []


def differences(first: Values, second: Values) -> tuple[list[float], dict[str, Any]]:
    """Of the same questions, with their units; what has no seeds is the same under all of them."""
    (a, ids), (b, _) = first, second
    seeds = max(len(a), len(b))
    pairs = [zip(a[i % len(a)], b[i % len(b)], strict=True) for i in range(seeds)]
    return over_seeds([[x - y for x, y in pair] for pair in pairs], questions=ids[:1] * seeds)


def gain(name: str, first: Values, second: Values) -> list[dict[str, Any]]:
    """The mean of `differences`, with an interval; none without a question."""
    if not first[1][0]:
        return []
    return [measured(name, *differences(first, second), limits=GAIN)]


def percent(row: Mapping[str, Any]) -> str:
    """A share and its interval, in percent."""
    ends = row["ci95"] and [100 * end for end in row["ci95"]]
    return f"{100 * row['value']:.1f} {spelled(ends, '.0f')}"


def even(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with the columns of all of them; blank where it has none."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]
