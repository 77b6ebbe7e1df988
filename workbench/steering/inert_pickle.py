"""Read the pickle of a `.safelock` file with an interpreter that calls nothing.

A pickle is a program for a stack machine. This one knows the opcodes that Python writes for dicts,
lists, tuples, texts, numbers and plain numpy arrays, and five names that stand for nothing but
themselves. Objects of numpy are made by `numpy.frombuffer` from bytes of the size that dtype and
shape announce; no other object, function or module is ever touched.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import DirectionError, UnsafeFileError

MAX_OPCODES = 320_000
"""A lock of all 5,120 heads of a 70B model takes 297,500."""
MAX_DEPTH = 8
"""A lock nests a dict, a list, a tuple and the parts of an array."""
DTYPES = ("f2", "f4", "f8", "i4", "i8")

_ENCODE = "_codecs.encode"
_RECONSTRUCT, _SCALAR, _NDARRAY, _DTYPE = "_reconstruct", "scalar", "numpy.ndarray", "numpy.dtype"
_NAMES = {
    **{name: name for name in (_ENCODE, _NDARRAY, _DTYPE)},
    **{
        f"numpy.{core}.multiarray.{name}": name
        for core in ("core", "_core")
        for name in (_RECONSTRUCT, _SCALAR)
    },
}
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """One of the five known names, by itself."""

    name: str


@dataclass
class _Dtype:
    spec: str
    order: str = "<"


@dataclass
class _Array:
    values: np.ndarray | None = None


# Containers that know how deep they nest, and are called in errors what they are.
_Tuple, _List, _Dict = (type(kind.__name__, (kind,), {"depth": 1}) for kind in (tuple, list, dict))


def loads(data: bytes, path: str) -> Any:
    """The content of a pickle: None, bool, int, float, str, bytes, list, tuple, dict, numpy.

    Keys of dicts are text. `path` names the file in errors. Raises `UnsafeFileError` for a name
    that is not one of the five, a persistent id, or an opcode that makes or changes objects;
    `DirectionError` for a damaged stream, or more than `MAX_OPCODES`.
    """
    machine = _Machine(path)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MAX_OPCODES:
                raise UnsafeFileError(f"{path}: more than {MAX_OPCODES:,} opcodes; refused")
            if opcode.name == "STOP":
                return _finished(machine.pop())
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        # genops refuses damaged streams by ValueError; the others are a stack that does not fit.
        raise DirectionError(f"{path}: the pickle inside is damaged: {_short(error)}") from error
    raise DirectionError(f"{path}: the pickle inside is damaged: it has no end")


def _finished(value: Any) -> Any:
    return value.values if isinstance(value, _Array) else value


def _short(value: object) -> str:
    return str(value)[:200]


class _Machine:
    """The stack and memo of one reading."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name in ("PERSID", "BINPERSID"):
            raise UnsafeFileError(
                f"{self.path} refers to outside data (a persistent id); nothing was executed"
            )
        elif name not in ("PROTO", "FRAME"):
            raise UnsafeFileError(
                f"{self.path}: opcode {name} is no part of a .safelock file; nothing was executed"
            )

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value belongs")
        return value

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def nest(self, container: Any, values: list[Any]) -> list[Any]:
        """The values, ready to go into the container; its depth is that of the deepest, plus 1."""
        depth = 1 + max((getattr(value, "depth", 0) for value in values), default=0)
        container.depth = max(container.depth, depth)
        if container.depth > MAX_DEPTH:
            raise ValueError(f"it nests more than {MAX_DEPTH} containers")
        return [_finished(value) for value in values]

    def push_tuple(self, values: list[Any]) -> None:
        made = _Tuple(map(_finished, values))
        self.nest(made, values)
        self.stack.append(made)

    def push_list(self, values: list[Any]) -> None:
        self.stack.append(_List())
        self.extend(values)

    def push_dict(self, values: list[Any]) -> None:
        self.stack.append(_Dict())
        self.update(values)

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError(f"items for a {type(target).__name__}")
        target += self.nest(target, values)

    def update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise ValueError(f"keys and values for a {type(target).__name__}")
        for key, value in zip(values[::2], self.nest(target, values[1::2]), strict=True):
            if not isinstance(key, str):
                raise ValueError(f"a key that is a {type(key).__name__}, not text")
            target[key] = value

    def named(self, name: str) -> None:
        if name not in _NAMES:
            raise UnsafeFileError(f"{self.path} asks for {_short(name)}; nothing was executed")
        self.stack.append(_Name(_NAMES[name]))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.named(f"{module}.{name}" if isinstance(name, str) and isinstance(module, str) else "?")

    def reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise UnsafeFileError(
                f"{self.path} calls a {type(called).__name__}; nothing was executed"
            )
        make = {_ENCODE: self._text, _DTYPE: self._dtype, _SCALAR: self._scalar,
                _RECONSTRUCT: self._array}.get(called.name)  # fmt: skip
        if make is None:
            raise UnsafeFileError(f"{self.path} calls {called.name}; nothing was executed")
        self.stack.append(make(*arguments))

    def _text(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding != "latin1":
            raise UnsafeFileError(
                f"{self.path} asks for the codec {_short(encoding)!r}; only latin1 is known"
            )
        if not isinstance(text, str):
            raise ValueError(f"bytes spelled by a {type(text).__name__}")
        return text.encode("latin1")

    def _dtype(self, spec: str, *_: Any) -> _Dtype:
        if spec not in DTYPES:
            raise UnsafeFileError(
                f"{self.path} asks for dtype {_short(spec)!r}; only plain numbers are known"
            )
        return _Dtype(spec)

    def _scalar(self, dtype: _Dtype, content: bytes) -> np.generic:
        return self._values(dtype, 1, content)[0]

    def _array(self, kind: _Name, shape: tuple[int, ...], _: Any) -> _Array:
        if kind != _Name(_NDARRAY) or shape != (0,):
            raise UnsafeFileError(f"{self.path} asks for an array of a shape before its data")
        return _Array()

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) >= 2:
            if state[1] not in ("<", ">", "|", "="):
                raise ValueError("a byte order that is none")
            target.order = state[1]
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, _, content = state
            if not isinstance(shape, tuple) or len(shape) != 1 or type(shape[0]) is not int:
                raise ValueError("an array that is no vector")
            target.values = self._values(dtype, shape[0], content)
        else:
            raise UnsafeFileError(
                f"{self.path} sets the state of a {type(target).__name__}; nothing was executed"
            )

    def _values(self, dtype: _Dtype, count: int, content: bytes) -> np.ndarray:
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes) or count < 0:
            raise ValueError("numbers without a dtype and bytes")
        plain = np.dtype(f"{dtype.order}{dtype.spec}")
        if plain.itemsize * count != len(content):
            raise ValueError(f"{count} numbers of {plain} in {len(content)} bytes")
        return np.frombuffer(content, plain)


_PUSHED = (
    "INT LONG LONG1 LONG4 BININT BININT1 BININT2 FLOAT BINFLOAT "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES"
).split()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": _List, "EMPTY_DICT": _Dict, "EMPTY_TUPLE": _Tuple, "MARK": lambda: _MARK,
}  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "TUPLE": lambda m, _: m.push_tuple(m.since_mark()),
    "TUPLE1": lambda m, _: m.push_tuple([m.pop()]),
    "TUPLE2": lambda m, _: m.push_tuple([m.pop(), m.pop()][::-1]),
    "TUPLE3": lambda m, _: m.push_tuple([m.pop(), m.pop(), m.pop()][::-1]),
    "LIST": lambda m, _: m.push_list(m.since_mark()),
    "DICT": lambda m, _: m.push_dict(m.since_mark()),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.update([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.update(m.since_mark()),
    "GLOBAL": lambda m, argument: m.named(argument.replace(" ", ".")),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"), lambda m, at: m.memo.__setitem__(int(at), m.stack[-1])
    ),
    "MEMOIZE": lambda m, _: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda m, at: m.stack.append(m.memo[int(at)])
    ),
}
