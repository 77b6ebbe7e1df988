"""Whether a value is of the kind that an annotation says."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin


def fits(value: Any, hint: Any) -> bool:
    """Whether a node's field, annotated so, may hold the value; a sequence holds something."""
    if isinstance(hint, type):
        return isinstance(value, hint)
    kinds, origin = get_args(hint), get_origin(hint)
    if origin is Callable:
        return callable(value)
    if origin not in (tuple, Sequence):
        return isinstance(value, Hashable) and not (callable(value) or is_dataclass(value))
    if not isinstance(value, Sequence) or not value:
        return False
    if origin is tuple and ... not in kinds:
        return len(value) == len(kinds) and all(map(fits, value, kinds))
    return all(fits(each, kinds[0]) for each in value)


def kind_name(hint: Any) -> str:
    """An annotation in a message, without the modules of its classes."""
    return hint.__name__ if isinstance(hint, type) else re.sub(r"\w+\.(?=\w)", "", f"{hint}")
