"""Sets of preference pairs: every shape made one, and checked before any model is loaded."""

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset, IterableDataset, concatenate_datasets

from workbench.errors import PairError
from workbench.models.pair_shapes import (
    EXAMPLE,
    SYSTEMS,
    Pair,
    hint,
    read_pair,
    read_pairs,
    settled,
    shown,
)
from workbench.models.turns import Side

log = logging.getLogger(__name__)

ANSWERS = ("chosen", "rejected")
COLUMNS = ("prompt", *ANSWERS)
_BESIDE = ("tools", "chat_template_kwargs")
Rows = Dataset | Sequence[dict[str, Any]]
Pairs = Rows | IterableDataset


def checked(
    dataset: Pairs | dict[str, Pairs], name: str, *, drop_identical: bool = False
) -> Dataset | IterableDataset | dict[str, Dataset | IterableDataset]:
    """The pairs (or sets of them) as `prompt, chosen, rejected`, each text in one of them alone.

    Every shape that `models.pair_shapes.read_pairs` reads, of a set or a list of rows; what TRL
    needs besides (`tools`, `chat_template_kwargs`) stays. Counts answers that are empty or the same
    in a warning. The rows of an `IterableDataset` are read as they come, in the way of the first.

    Raises `PairError` naming the columns, or showing the row, that cannot be understood.
    """
    if isinstance(dataset, dict):
        return {k: checked(v, k, drop_identical=drop_identical) for k, v in dataset.items()}
    if not isinstance(dataset, IterableDataset) and not len(dataset):
        raise PairError(f"{name}: no pairs")
    first = next(iter(dataset), {})
    _require_columns(first, name)
    if isinstance(dataset, IterableDataset):
        return _stream(dataset, first, name)
    numbered = [
        (number, row)
        for number, row in enumerate(dataset)
        # Of two equal sides without a prompt nothing tells where it would end.
        if not (drop_identical and row.get("chosen") == row.get("rejected"))
    ]
    pairs = read_pairs(
        ((f"{name}, row {number}", row) for number, row in numbered),
        lambda text: log.warning("%s: %s", name, text),
    )
    texts = [(_text(pair.chosen), _text(pair.rejected)) for pair in pairs]
    numbers = [number for number, _ in numbered]
    empty = [n for n, sides in zip(numbers, texts, strict=True) if not all(sides)]
    for number, sides in zip(numbers, texts, strict=True):
        if not any(sides):
            raise PairError(f"{name}, row {number}: both answers are empty; remove the pair")
    if empty:
        log.warning("%s: %d pairs with an empty answer (first: row %d)", name, len(empty), empty[0])
    different = [place for place, (chosen, rejected) in enumerate(texts) if chosen != rejected]
    if same := sorted(set(range(len(dataset))) - {numbers[place] for place in different}):
        log.warning(
            "%s: %d of %d pairs (%.1f %%) have identical answers and no signal (first: row %d)%s",
            name, len(same), len(dataset), 100 * len(same) / len(dataset), same[0],
            "; dropped" if drop_identical else "; drop_identical=True drops them",
        )  # fmt: skip
    if not drop_identical:
        return _as_read(dataset, pairs, name)
    if not different:
        raise PairError(f"{name}: all pairs have identical answers")
    keep = [numbers[place] for place in different]
    whole = isinstance(dataset, Dataset)
    dataset = dataset.select(keep) if whole else [dataset[number] for number in keep]
    return _as_read(dataset, [pairs[place] for place in different], name)


def _require_columns(row: dict[str, Any], name: str) -> None:
    columns = {str(column).strip().lower() for column in row}
    missing = [c for c in ANSWERS if c not in columns]
    if missing and not {"human_ref_a", "human_ref_b", "labels"} <= columns:
        raise PairError(
            f"{name}: needs columns chosen and rejected, and prompt unless the answers begin with "
            f"it; found {', '.join(map(str, row)) or 'none'}; missing {', '.join(missing)}"
            f"{hint(columns)}. Row 0: {shown(row)}. It should look like {EXAMPLE}"
        )


def _stream(dataset: IterableDataset, first: dict[str, Any], name: str) -> IterableDataset:
    place = f"{name}, row {{}}".format
    model = read_pair(first, place(0))
    # Whether any later row has a system prompt is not known yet.
    columns = {str(c).strip().lower() for c in first}
    chat = not isinstance(model.prompt, str) or not columns.isdisjoint(SYSTEMS)

    def read(row: dict[str, Any], index: int) -> dict[str, Any]:
        pair = settled(read_pair(row, place(index)), place(index), model.repeated == 2, chat)
        return {column: getattr(pair, column) for column in COLUMNS}

    columns = [column for column in first if column not in _BESIDE]
    return dataset.map(read, with_indices=True, remove_columns=columns)


def _as_read(dataset: Rows, pairs: list[Pair], name: str) -> Dataset:
    """The set with the columns of `pairs`; nothing is copied where they are its own."""
    beside = None
    if isinstance(dataset, Dataset):
        ours = [c for c in dataset.column_names if c in (*COLUMNS, *_BESIDE)]
        dataset = dataset.select_columns(ours) if ours != dataset.column_names else dataset
        if set(COLUMNS) <= set(ours) and all(
            _plain(row[column]) == getattr(pair, column)
            for row, pair in zip(dataset, pairs, strict=True)
            for column in COLUMNS
        ):
            return dataset
        if extra := [column for column in ours if column in _BESIDE]:
            beside = dataset.select_columns(extra)
    elif extra := [column for column in _BESIDE if any(column in row for row in dataset)]:
        beside = Dataset.from_dict({c: [row.get(c) for row in dataset] for c in extra})
    kind = "texts" if isinstance(pairs[0].prompt, str) else "conversations"
    first = shown({column: getattr(pairs[0], column) for column in COLUMNS})
    log.warning("%s: made into %s of a prompt and two answers; row 0: %s", name, kind, first)
    read = Dataset.from_dict({c: [getattr(pair, c) for pair in pairs] for c in COLUMNS})
    return concatenate_datasets([read, beside], axis=1) if beside is not None else read


def _plain(side: Any) -> Any:
    """A side without the empty keys that a set adds to messages that have fewer than others."""
    if not isinstance(side, list):
        return side
    return [{k: v for k, v in m.items() if v is not None or k == "content"} for m in side]


def _text(answer: Side) -> str:
    """Text of an answer, its messages joined."""
    if isinstance(answer, str):
        return answer
    return "\n".join(f"{m['content'] or ''}{m.get('tool_calls') or ''}" for m in answer).strip()
