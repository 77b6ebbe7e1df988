"""Stories of pens and coins that nobody was taught, and published problems, as stories."""

import ast
import logging
import operator
import random
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from workbench.data.problems import read_problems
from workbench.errors import DatasetError
from workbench.evaluation.numbers import plain, whole_number
from workbench.files import Row, read_rows
from workbench.hub import hub_rows
from workbench.worlds.pens import Story, coins, number, pens

log = logging.getLogger(__name__)

GSM_HARD = ("reasoning-machines/gsm-hard", "train")
_NUMBER = re.compile(r"(?<![\w.,])[0-9]+(?!\w|[.,][0-9])")
_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
}  # fmt: skip
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


def addsub_stories(
    path: str, digits: Sequence[int], limit: int, count: int, seed: int
) -> dict[str, dict[int, list[Story]]]:
    """AddSub as published (`"addsub"`, size 0) and with larger numbers (`"addsub_plus"`, digits).

    There numbers of so many digits stand for those of the equation, in text and equation, whose
    value is the answer (§4); no difference is below 1. At most `limit` of the first, and `count` of
    each size of the second: made, as a warning says, from those problems whose equation is `X =`
    whole numbers, added or subtracted, each of them once in the text.

    Raises `DatasetError` as `read_problems`, and where none is left.
    """
    problems = read_problems("addsub", path)
    pairs = [(p.text, equation) for p, row in zip(problems, read_rows(path), strict=True)
             if p.answer.isdigit() and (equation := _equation(row, p.text, p.answer))]  # fmt: skip
    if not pairs:
        raise DatasetError(f"{path}: no lEquations like 'X = 70 - 27', of numbers in the text")
    log.warning("%s: AddSub+ is made from %d of its %d problems", path, len(pairs), len(problems))
    plus: dict[int, list[Story]] = {}
    for size in digits:
        rng = random.Random(f"addsub {seed} {size}")
        larger = (_larger(rng, *pair, size) for pair in rng.sample(pairs, len(pairs)))
        plus[size] = list(islice(filter(None, larger), count))
    same = [Story(p.text, "", p.answer) for p in problems if p.answer.isdigit()]
    return {"addsub": {0: same[:limit]}, "addsub_plus": plus}


def _equation(row: Row, text: str, answer: str) -> str:
    """What X equals, of whole numbers; empty where AddSub's equation has another form."""
    plain_digits = re.sub(r"\.0+\b", "", str(row.get("lEquations")))
    match = re.fullmatch(r"\['X ?= ?([0-9(]+ ?[+-][0-9+() -]+)'\]", plain_digits)
    used = _NUMBER.findall(match[1]) if match else []
    once = all(_NUMBER.findall(t).count(n) == 1 for n in used for t in (text, match[1]))
    return match[1] if match and once and calculated(match[1]) == answer else ""


def _larger(rng: random.Random, text: str, equation: str, digits: int) -> Story | None:
    """A problem with other numbers; None where 1,000 draws leave a difference below 1."""
    for _ in range(1000):
        new = {n: str(number(rng, digits)) for n in _NUMBER.findall(equation)}
        told, larger = (_NUMBER.sub(lambda m, new=new: new.get(m[0], m[0]), t)
                        for t in (text, equation))  # fmt: skip
        parts = (p for p in ast.walk(ast.parse(larger, mode="eval")) if isinstance(p, ast.BinOp))
        if all(int(calculated(ast.unparse(part))) > 0 for part in parts):
            return Story(told, "", calculated(larger))
    return None


def calculated(expression: str) -> str:
    """The value of whole numbers with +, -, * and brackets; empty for anything else.

    Parsed, never executed: a reply is anybody's text.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        return str(_value(tree, 0))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _value(node: ast.expr, depth: int) -> int:
    if depth > 20:
        raise ValueError("too deep")
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, depth + 1), _value(right, depth + 1))
    raise ValueError("no arithmetic of whole numbers")
