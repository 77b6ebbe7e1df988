"""What an input of a program must be, as symbols and as a network's ids."""

from collections.abc import Sequence
from typing import Any

import torch

from workbench.arguments import shown
from workbench.errors import ProgramInputError
from workbench.papers.neural_comprehension.configuration import CoNNConfig


def input_fault(
    symbols: Any,
    vocabulary: Sequence[str],
    between: Sequence[str] = (),
    end: str = "",
    window: int | None = None,
) -> str:
    """Why symbols are no input of a program with such a `Token`; empty where they are one."""
    if not isinstance(symbols, Sequence) or isinstance(symbols, bytes):
        return f"{shown(symbols)} is neither a text nor a list of symbols"
    if window is not None and len(symbols) > window:
        return f"{len(symbols)} symbols; it reads {window} at most"
    for place, symbol in enumerate(symbols):
        if symbol not in vocabulary:
            return (
                f"{shown(symbol)} at position {place} is no symbol of the program: it reads "
                f"{' '.join(vocabulary)}"
            )
    if len(symbols) <= bool(end):
        return "it is empty"
    symbols = list(symbols)
    if end and (symbols[-1] != end or symbols.count(end) > 1):
        return f"it has {symbols.count(end)} {end!r}; it must have one, at its end"
    body = symbols[:-1] if end else symbols
    for symbol in between:
        if body.count(symbol) != 1 or symbol in (body[0], body[-1]):
            return (
                f"it has {body.count(symbol)} {symbol!r}; it must have one, with something before "
                "and behind it"
            )
    return ""


def hidden_places(
    config: CoNNConfig, ids: torch.Tensor, attention_mask: torch.Tensor | None
) -> torch.Tensor:
    """Which places of ids `[row, 1 + position]` are no keys, bool of their shape.

    Raises `ProgramInputError` for ids that are not BOS, symbols, then PAD, whose symbols are no
    input of the program, or a mask of another shape.
    """
    bos, pad = config.bos, config.pad
    if (kind := getattr(ids, "dtype", None)) not in (torch.int64, torch.int32):
        raise ProgramInputError(f"ids of dtype {kind}: they must be a tensor of int64")
    if ids.ndim != 2 or not 1 <= ids.shape[1] <= config.window + 1:
        raise ProgramInputError(
            f"ids of shape {list(ids.shape)}: they are [row, 1 + position], and "
            f"{config.program or 'this network'} reads {config.window} symbols at most"
        )
    hidden = ids == pad
    if attention_mask is not None:
        if (shape := getattr(attention_mask, "shape", None)) != ids.shape:
            raise ProgramInputError(
                f"attention_mask of shape {shape and list(shape)}: it must be a tensor of the ids' "
                f"shape, {list(ids.shape)}"
            )
        hidden = hidden | (attention_mask == 0)
    body, bad = ids[:, 1:], (ids < 0) | (ids > pad)
    bad[:, :1] |= ids[:, :1] != bos
    bad[:, 1:] |= (body == bos) | (hidden[:, :-1] & ~hidden[:, 1:])
    if bad.any():
        row, place = bad.nonzero()[0].tolist()
        raise ProgramInputError(
            f"ids, row {row}: {int(ids[row, place])} at place {place}. A row is BOS ({bos}), "
            f"symbols (0 to {bos - 1}), then only PAD ({pad})"
        )
    for row in _wrong(config, ids, hidden).nonzero()[:1, 0].tolist():
        symbols = [config.vocabulary[i] for i in ids[row][~hidden[row]].tolist()[1:]]
        fault = input_fault(symbols, config.vocabulary, config.between, config.end)
        raise ProgramInputError(f"ids, row {row}: {fault}")
    return hidden


def _wrong(config: CoNNConfig, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Which rows are empty, or lack a mark, have it twice or out of its place; bool `[row]`."""
    ends, last = int(config.end != ""), (~hidden).sum(1) - 1
    wrong = last <= ends
    for mark in (*config.between, *[config.end] * ends):
        places = (ids == config.vocabulary.index(mark)) & ~hidden
        place = places.int().argmax(1)
        inside = (place > 1) & (place < last - ends)
        wrong |= (places.sum(1) != 1) | ~(place == last if mark == config.end else inside)
    return wrong & ~hidden.all(1)
