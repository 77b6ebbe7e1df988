"""Programs that a model wrote, as text: read by an interpreter of a few expressions, never run.

A text is lines `name = expression`; the last line is the program. What is not listed here does not
exist: no attributes but some methods of strings, no loops, no calls of what the text defines.
"""

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from workbench.arguments import shown, whole
from workbench.errors import CompileBudgetError, ProgramTextError
from workbench.papers.neural_comprehension import language
from workbench.papers.neural_comprehension.language import Categorical, Node, Numeric, described

MOST_CHARACTERS, MOST_PARTS, DEEPEST = 4000, 1000, 50
"""Of a text: its characters, the parts that they parse to, and how deep these nest."""
MOST_NODES, MOST_STEPS = 64, 200_000
"""Of a program: its nodes, and the parts evaluated in all calls of its functions together."""
LARGEST, LONGEST = 10**6, 64
"""Whole numbers, and strings and tuples, that a text can make."""

KINDS = {kind.__name__: kind for kind in (
    language.Token, language.Index, language.Position, language.Map, language.Zip, language.Number,
    language.Category, language.Gate, language.Select, language.Nearest, language.Copy,
    language.Average, language.Count,
)}  # fmt: skip
GIVEN = ("token", "index", "position", "window")
FUNCTIONS = {each.__name__: each for each in (int, str, abs, min, max, len, ord)}
METHODS = {each.__name__: each for each in (
    str.isdigit, str.isalpha, str.isupper, str.upper, str.lower, str.startswith, str.endswith
)}  # fmt: skip
WORDS = {*KINDS, *FUNCTIONS}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
SYNTAX: tuple[type, ...] = (
    ast.Module, ast.Expr, ast.Load, ast.Store, ast.Tuple, ast.List, ast.Set, ast.Lambda, ast.arg,
    ast.keyword, ast.Subscript, ast.BinOp, ast.UnaryOp, ast.Not, ast.USub, ast.BoolOp, ast.And,
    ast.Or, ast.Compare, ast.IfExp, *ARITHMETIC, *COMPARISONS,
)  # fmt: skip


def read_program(text: str, vocabulary: Sequence[str], window: int) -> Categorical:
    """The program that a text describes; in it `token`, `index`, `position` and `window` are known.

    Its functions stop with `CompileBudgetError` after `MOST_STEPS`, whoever calls them.

    >>> read_program("Count(Select(token, token, lambda k, q: k == '1'), str)", "01", window=8)

    Raises `ProgramTextError`, naming the line, for anything that is no program of the language;
    `CompileBudgetError` for one that is too large; `ValueError` or `TypeError` for another window
    or vocabulary.
    """
    if not isinstance(text, str):
        raise ProgramTextError(f"{shown(text)}: a program is read from a text")
    if len(text) > MOST_CHARACTERS:
        raise CompileBudgetError(f"{len(text):,} characters; {MOST_CHARACTERS:,} at most")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProgramTextError(f"no Python: {str(error) or type(error).__name__}") from error
    _check(tree, text)
    return _Reading(text, vocabulary, whole("window", window, 1)).program(tree)


def _check(tree: ast.Module, text: str) -> None:
    """Refuse what is too large, and every part or name that is not listed, reached or not."""
    level: list[ast.AST] = [tree]
    parts: list[ast.AST] = []
    for _ in range(DEEPEST):
        parts += level
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level or len(parts) > MOST_PARTS:
        raise CompileBudgetError(f"over {MOST_PARTS:,} parts, or nested deeper than {DEEPEST}")
    known = {*WORDS, *GIVEN, *(part.arg for part in parts if isinstance(part, ast.arg))}
    known |= {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
    for part in parts:
        if not _listed(part, known):
            raise _refused(part, text, "is not in the language")


def _listed(part: ast.AST, known: set[str]) -> bool:
    match part:
        case ast.Assign(targets=targets):
            return all(isinstance(t, ast.Name) and t.id not in WORDS for t in targets)
        case ast.arguments():
            return not (part.posonlyargs or part.kwonlyargs or part.defaults or part.vararg
                        or part.kwarg)  # fmt: skip
        case ast.Constant(value=value):
            return isinstance(value, str | int | None)
        case ast.Name(id=name):
            return name in known
        case ast.Attribute(attr=name):
            return name in METHODS
        case ast.Call(func=called):
            return isinstance(called, ast.Attribute) or getattr(called, "id", "") in WORDS
        case ast.BinOp(op=op) | ast.UnaryOp(op=op):
            return isinstance(op, SYNTAX)
    return isinstance(part, SYNTAX)


class _Reading:
    """One text being read, and how many steps and nodes it has left."""

    def __init__(self, text: str, vocabulary: Sequence[str], window: int) -> None:
        self.text, self.steps, self.nodes = text, MOST_STEPS, MOST_NODES
        given = (
            language.Token(vocabulary, name="token", where="given"),
            language.Index(name="index", where="given"),
            language.Position(name="position", where="given"),
            window,
        )
        self.named: dict[str, Any] = dict(zip(GIVEN, given, strict=True))

    def program(self, tree: ast.Module) -> Categorical:
        value: Any = None
        for line in tree.body:
            value = self._value(line.value, self.named)
            for target in getattr(line, "targets", ()):
                if isinstance(value, Node) and isinstance(line.value, ast.Call | ast.BinOp):
                    value = replace(value, name=value.name or target.id)
                self.named[target.id] = value
        if not isinstance(value, Categorical):
            raise ProgramTextError(f"the last line makes {described(value)}, no categorical node")
        return value

    def _value(self, part: ast.expr, scope: dict[str, Any]) -> Any:
        self.steps -= 1
        if self.steps < 0:
            raise CompileBudgetError(f"its functions take over {MOST_STEPS:,} steps")
        try:
            value = self._evaluated(part, scope)
        except ProgramTextError:
            raise
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise _refused(part, self.text, f"fails: {error}") from error
        if isinstance(value, int) and abs(value) > LARGEST:
            raise CompileBudgetError(f"line {part.lineno}: a number beyond {LARGEST:,}")
        if isinstance(value, str | tuple) and len(value) > LONGEST:
            raise CompileBudgetError(f"line {part.lineno}: text or tuple longer than {LONGEST}")
        return value

    def _evaluated(self, part: ast.expr, scope: dict[str, Any]) -> Any:
        match part:
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [self._value(each, scope) for each in (left, *others)]
                signs = [COMPARISONS[type(op)] for op in ops]
                return all(map(lambda sign, a, b: sign(a, b), signs, values, values[1:]))
            case ast.Name(id=name):
                return scope[name] if name in scope else FUNCTIONS[name]
            case ast.Constant(value=value):
                return value
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._value(left, scope), self._value(right, scope)
                return self._arithmetic(part, ARITHMETIC[type(op)], a, b)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._arithmetic(part, operator.mul, self._value(operand, scope), -1)
            case ast.UnaryOp(operand=operand):
                return not self._value(operand, scope)
            case ast.BoolOp(op=op, values=values):
                for each in values:
                    value = self._value(each, scope)
                    if bool(value) is isinstance(op, ast.Or):
                        break
                return value
            case ast.IfExp(test=test, body=body, orelse=other):
                return self._value(body if self._value(test, scope) else other, scope)
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                return tuple(_flat(self._value(each, scope), Node) for each in items)
            case ast.Subscript(value=of, slice=place):
                return self._value(of, scope)[self._value(place, scope)]
            case ast.Lambda(args=arguments, body=body):
                return self._function([each.arg for each in arguments.args], body, scope)
            case ast.Call(func=ast.Name(id=name)) if name in KINDS:
                return self._node(part, KINDS[name], scope)
            case ast.Call(func=called, args=given, keywords=[]):
                method = isinstance(called, ast.Attribute)
                act = METHODS[called.attr] if method else FUNCTIONS[called.id]
                given = [called.value, *given] if method else given
                return act(*(_flat(self._value(each, scope)) for each in given))
        raise _refused(part, self.text, "is not in the language")

    def _function(self, names: list[str], body: ast.expr, scope: dict[str, Any]) -> Any:
        """A lambda: it sees its arguments and plain values named above it, and remembers."""
        outer = {k: v for k, v in scope.items() if isinstance(v, str | int | tuple | None)}

        @lru_cache(maxsize=None, typed=True)
        def function(*values: Any) -> Any:
            if len(values) != len(names):
                raise _refused(body, self.text, f"is given {len(values)} of its {len(names)}")
            value = self._value(body, outer | dict(zip(names, values, strict=True)))
            if not isinstance(value, str | int | None):
                raise _refused(body, self.text, f"makes {described(value)}")
            return value

        return function

    def _arithmetic(self, part: ast.expr, act: Callable[..., Any], a: Any, b: Any) -> Any:
        """Of whole numbers; `+` of texts; `+`, `-` and `*` by a number, of numeric nodes."""
        numeric = isinstance(a, Numeric) + isinstance(b, Numeric)
        if not numeric:
            if isinstance(a, int) and isinstance(b, int):
                return act(a, b)
            if isinstance(a, str) and isinstance(b, str) and act is operator.add:
                return a + b
        elif all(isinstance(each, Numeric | int) for each in (a, b)) and (
            act in (operator.add, operator.sub) or (act is operator.mul and numeric == 1)
        ):
            return replace(act(a, b), where=self._counted(part))
        raise TypeError(f"not of {described(a)} and {described(b)}")

    def _node(self, call: ast.Call, kind: type[Node], scope: dict[str, Any]) -> Node:
        given = [self._value(each, scope) for each in call.args]
        named = {str(each.arg): self._value(each.value, scope) for each in call.keywords}
        return kind(*given, **named, where=self._counted(call))

    def _counted(self, part: ast.expr) -> str:
        self.nodes -= 1
        if self.nodes < 0:
            raise CompileBudgetError(f"over {MOST_NODES} nodes")
        return f"line {part.lineno}"


def _flat(value: Any, *others: type) -> Any:
    """A text, a whole number or None: tuples of tuples would be as large as their text is not."""
    if not isinstance(value, (str, int, type(None), *others)):
        raise TypeError(f"{described(value)} where a text or a whole number must be")
    return value


def _refused(part: ast.AST, text: str, why: str) -> ProgramTextError:
    cut = ast.get_source_segment(text, part) or type(part).__name__
    return ProgramTextError(f"line {getattr(part, 'lineno', '?')}: {f'{cut:.60}'!r} {why}")
