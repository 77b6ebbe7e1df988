"""What an input of a program must be."""

from collections.abc import Sequence


def input_fault(
    symbols: Sequence[str], vocabulary: Sequence[str], between: Sequence[str] = (), end: str = ""
) -> str:
    """Why symbols are no input of a program with such a `Token`; empty where they are one."""
    for place, symbol in enumerate(symbols):
        if symbol not in vocabulary:
            return (
                f"{symbol!r} at position {place} is no symbol of the program: it reads "
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
