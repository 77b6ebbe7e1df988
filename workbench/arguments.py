"""What numbers and lists may be that a function is given: the same everywhere, refused by name."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from workbench.errors import nearest

Refusal = Callable[[str], Exception]
"""The class of the error that is raised: that of the function's other errors."""
MOST_SEED = 2**63 - 1
"""Torch's generators and the files that hold seeds take no larger one."""

FLOAT32 = (2 - 2**-23) * 2.0**127
"""The largest number that float32 holds."""


def shown(value: Any) -> str:
    """The beginning of a value's `repr`, for a message."""
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python writes no number of more than 4300 digits
        return f"a very long {type(value).__name__}"


def whole(
    name: str,
    value: Any,
    least: int | None = None,
    most: int | None = None,
    error: Refusal = ValueError,
) -> int:
    """`value` as an int from `least` to `most`; NumPy's and torch's whole numbers are ones, too.

    Raises `error`, naming the argument, for anything else: True, 3.0 and "3" are none.
    """
    number = _plain(value)
    if (
        not isinstance(number, int)
        or isinstance(number, bool)
        or (least is not None and number < least)
        or (most is not None and number > most)
    ):
        bounds = _bounds({"at least": least, "at most": most})
        raise error(f"{name}={shown(value)}: it must be a whole number{bounds}")
    return number


def finite(
    name: str,
    value: Any,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    error: Refusal = ValueError,
) -> float:
    """`value` as a finite float from `least` to `most`, strictly `above` and `below` the others.

    Raises `error`, naming the argument, for anything else: NaN, True and "3" are none.
    """
    plain = _plain(value)
    try:
        fits = isinstance(plain, int | float) and not isinstance(plain, bool)
        number = float(plain) if fits else math.nan
    except OverflowError:  # a whole number beyond all floats
        number = math.inf
    if (
        not math.isfinite(number)
        or (least is not None and number < least)
        or (most is not None and number > most)
        or (above is not None and number <= above)
        or (below is not None and number >= below)
    ):
        bounds = _bounds({"above": above, "at least": least, "below": below, "at most": most})
        raise error(f"{name}={shown(value)}: it must be a finite number{bounds}")
    return number


def truth(name: str, value: Any, error: Refusal = ValueError) -> bool:
    """`value` as True or False. Raises `error`, naming the argument, for "no", 1 and the rest."""
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise error(f"{name}={shown(value)}: it must be True or False")
    return plain


def seed_number(value: Any, most: int = MOST_SEED, error: Refusal = ValueError) -> int:
    """A seed: a whole number from 0 to `most`. Raises `error` for anything else."""
    return whole("seed", value, 0, most, error)


def listed(
    name: str, values: Any, error: Refusal = ValueError, *, empty: bool = False
) -> list[Any]:
    """`values` as a list; of arrays and tensors the plain numbers. Only with `empty` it may be.

    Raises `error`, naming the argument, for one string, a mapping, or what cannot be gone through.
    """
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, str | bytes):
        raise error(f"{name} must be a list, not one string")
    if isinstance(values, Mapping) or not isinstance(values, Iterable):
        raise error(f"{name}={shown(values)}: it must be a list, not a {type(values).__name__}")
    entries = [_plain(value) for value in values]
    if not entries and not empty:
        raise error(f"no {name}: the list is empty")
    return entries


def one_of(name: str, value: Any, known: Sequence[str], error: Refusal = ValueError) -> str:
    """`value`, which must be one of the `known` names.

    Raises `error`, naming the argument and the nearest of them, for anything else.
    """
    if not isinstance(value, str) or value not in known:
        close = nearest(value, known) if isinstance(value, str) else ""
        raise error(f"{name}={shown(value)}; use one of {', '.join(known)}{close}")
    return value


def indices(name: str, values: Any, size: int, error: Refusal = ValueError) -> list[int]:
    """`values` as different whole numbers from 0 to `size` - 1, in their order, at least one.

    Raises `error`, naming the argument, for anything else: -1 counts from no end.
    """
    numbers = [
        whole(f"{name}[{i}]", v, 0, size - 1, error)
        for i, v in enumerate(listed(name, values, error))
    ]
    return different(name, numbers, error)


def different(name: str, entries: list[Any], error: Refusal = ValueError) -> list[Any]:
    """`entries` as they are; raises `error` where one is there twice."""
    seen: set[Any] = set()
    for entry in entries:
        if entry in seen:
            raise error(f"{name}: {shown(entry)} is there twice")
        seen.add(entry)
    return entries


def binary(name: str, values: Any, count: int, error: Refusal = ValueError) -> list[int]:
    """`values` as a list of 0 and 1, one for each of `count` prompts, both of them there.

    Truth values count. Raises `error`, naming the argument, for anything else.
    """
    labels = of_prompts(name, values, count, error)
    wrong = [v for v in labels if isinstance(v, str | bytes) or v not in (0, 1)]
    if wrong:
        raise error(f"{name} holds {shown(wrong[0])}; they must be one 0 or 1 for each prompt")
    if len(set(labels)) < 2:
        raise error(f"the {name} hold one class only; both classes are needed")
    return [int(v) for v in labels]


def numbered(name: str, values: Any, count: int, error: Refusal = ValueError) -> list[int]:
    """Groups as numbers from 0, in the order of their ids: one id, a text or a number, per prompt.

    Raises `error`, naming the argument, for another count, or ids that are missing or mixed.
    """
    ids = of_prompts(name, values, count, error)
    if not all(isinstance(i, str) for i in ids):
        for place, i in enumerate(ids):
            finite(f"{name}[{place}]", i, error=error)
    place_of = {known: place for place, known in enumerate(sorted(set(ids)))}
    return [place_of[i] for i in ids]


def of_prompts(name: str, values: Any, count: int, error: Refusal = ValueError) -> list[Any]:
    """`values` as a list with one for each of `count` prompts; raises `error` for any other."""
    entries = listed(name, values, error)
    if len(entries) != count:
        raise error(f"{len(entries)} {name} for {count} prompts")
    return entries


def _plain(value: Any) -> Any:
    """A scalar of NumPy's or torch's as Python's own."""
    return value.item() if getattr(value, "shape", None) == () else value


def _bounds(bounds: dict[str, float | None]) -> str:
    given = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
    return f" {' and '.join(given)}" if given else ""
