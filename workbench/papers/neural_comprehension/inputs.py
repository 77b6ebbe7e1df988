"""What an input of a program must be."""

from collections.abc import Sequence
from typing import Any

from workbench.arguments import shown


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
