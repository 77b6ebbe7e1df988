"""Stories of pens and coins that nobody was taught, and published problems, as stories."""

import ast
import random
from collections.abc import Callable, Mapping, Sequence

from workbench.errors import DatasetError
from workbench.evaluation.numbers import plain, whole_number
from workbench.files import Row, read_rows
from workbench.hub import hub_rows
from workbench.worlds.pens import Story, coins, pens

GSM_HARD = ("reasoning-machines/gsm-hard", "train")
_KINDS = {(ast.Add,): "addition", (ast.Sub,): "subtraction", (ast.Add, ast.Sub): "mixed"}


def pens_by_digits(digits: Sequence[int], count: int, seed: int) -> dict[int, list[Story]]:
    """Digits → word problems of such numbers, as many of each."""
    return _drawn(pens, digits, count, f"pens {seed}")


def coins_by_flips(flips: Sequence[int], count: int, seed: int) -> dict[int, list[Story]]:
    """People → stories of coins, as many of each."""
    return _drawn(coins, flips, count, f"coins {seed}")


def _drawn(
    draw: Callable[[random.Random, int], Story], sizes: Sequence[int], count: int, name: str
) -> dict[int, list[Story]]:
    rngs = {size: random.Random(f"{name} {size}") for size in sizes}
    return {size: [draw(rng, size) for _ in range(count)] for size, rng in rngs.items()}


def published_stories(path: str, limit: int) -> dict[str, list[Story]]:
    """Subset → problems of GSM-Hard that only add, only subtract or do both (Table 2).

    `path`: a file with `input`, `code` and `target` as published, or with `question` and `answer`,
    which are one set, `"yours"`; empty for the hub's. At most `limit` of each, with whole answers.

    Raises `DatasetError` for a file or row that cannot be read, or where no problem is left.
    """
    rows: Sequence[Row] = read_rows(path) if path else list(hub_rows(*GSM_HARD))
    sets: dict[str, list[Story]] = {}
    for i, row in enumerate(rows):
        question, gold = (_field(row, i, *names) for names in
                          (("input", "question"), ("target", "answer")))  # fmt: skip
        subset = _subset(row["code"]) if "code" in row else "yours"
        number = whole_number(str(gold))
        if subset and number is not None and number.denominator == 1:
            sets.setdefault(subset, []).append(Story(str(question), "", plain(number)))
    if not sets:
        raise DatasetError(
            f"{path or GSM_HARD[0]}: no problem of whole numbers that adds or subtracts"
        )
    return {name: told[:limit] for name, told in sets.items()}


def _field(row: Mapping[str, object], i: int, *names: str) -> object:
    for name in names:
        if name in row and row[name] not in ("", None):
            return row[name]
    raise DatasetError(f"row {i}: no {' or '.join(names)}; it has {', '.join(row)}")


def _subset(code: str) -> str:
    """Which subset a published program belongs to, by its operators; empty for none."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError):
        return ""
    used = {type(node.op) for node in nodes if isinstance(node, ast.BinOp | ast.AugAssign)}
    return _KINDS.get(tuple(kind for kind in (ast.Add, ast.Sub) if kind in used), "") if used <= {
        ast.Add, ast.Sub
    } else ""  # fmt: skip
