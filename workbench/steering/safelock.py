"""The released `.safelock` file: a pickle in a ZIP, read without executing anything of it.

A dict of `model.layers.{l}.self_attn.head_out` → list of (head, float16 direction, float16 σ).
Only the five constructors that numpy scalars and arrays need are known to the reader; any other
global, and any persistent id, is refused before it could be called.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import DirectionError, UnsafeFileError

MAX_BYTES = 64 * 2**20
_KEY = re.compile(r"model\.layers\.(\d+)\.self_attn\.head_out")


def _empty_array(kind: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    if kind is not np.ndarray or shape != (0,):
        raise UnsafeFileError(f"the file asks for an array of shape {shape} before its data")
    return np.empty(0, np.int8)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise UnsafeFileError(f"the file asks for the codec {encoding!r}; only latin1 is known")
    return text.encode("latin1")


def _plain_dtype(spec: str, *_: Any) -> np.dtype:
    if spec not in ("f2", "f4", "f8", "i4", "i8"):
        raise UnsafeFileError(f"the file asks for dtype {spec!r}; only plain numbers are known")
    return np.dtype(spec)


_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _plain_dtype,
    ("_codecs", "encode"): _latin1,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _GLOBALS[_module, "_reconstruct"] = _empty_array
    _GLOBALS[_module, "scalar"] = np._core.multiarray.scalar


@dataclass(frozen=True)
class Entry:
    """One head: `unit` is a vector `[d_head]`, `scale` its σ."""

    layer: int
    head: int
    unit: np.ndarray
    scale: float


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise UnsafeFileError(f"the file asks for {module}.{name}; nothing was executed")
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafeFileError("the file refers to outside data (a persistent id); refused")


def read(path: str | Path) -> list[Entry]:
    """All heads, in file order.

    Raises `UnsafeFileError` (a forbidden global is named; nothing was executed) or
    `DirectionError` for a file that is not this format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith("/data.pkl")]
            if len(members) != 1:
                raise DirectionError(f"{path}: expected one */data.pkl, found {archive.namelist()}")
            if members[0].file_size > MAX_BYTES:
                raise UnsafeFileError(f"{path}: data.pkl expands to {members[0].file_size} bytes")
            data = archive.read(members[0])
    except (zipfile.BadZipFile, OSError) as error:
        raise DirectionError(f"{path} is no .safelock archive: {error}") from error
    try:
        # Forbidden globals are looked for in the whole stream first: nothing at all is built from
        # a file that carries one, wherever it stands.
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL" and tuple(argument.split(" ")) not in _GLOBALS:
                raise UnsafeFileError(
                    f"{path} asks for {argument.replace(' ', '.')}; nothing was executed"
                )
        content = _Reader(io.BytesIO(data)).load()
    except UnsafeFileError:
        raise
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, KeyError, IndexError) as error:
        raise DirectionError(f"{path}: the pickle inside is damaged: {error}") from error
    return _entries(content, str(path))


def _entries(content: Any, path: str) -> list[Entry]:
    if not isinstance(content, dict):
        raise DirectionError(f"{path} holds a {type(content).__name__}, not a dict of layers")
    entries = []
    for key, heads in content.items():
        match = _KEY.fullmatch(str(key))
        if not match or not isinstance(heads, list):
            raise DirectionError(f"{path}: key {key!r} is not model.layers.N.self_attn.head_out")
        for item in heads:
            if not isinstance(item, tuple) or len(item) != 3 or np.ndim(item[1]) != 1:
                raise DirectionError(f"{path}: {key} holds an entry that is not (head, vector, σ)")
            head, unit, scale = item
            entries.append(Entry(int(match[1]), int(head), np.array(unit), float(scale)))
    if not entries:
        raise DirectionError(f"{path} holds no heads")
    return entries


def write(path: str | Path, entries: list[Entry]) -> None:
    """Write entries as the official loader expects: protocol 2, old numpy module path, float16."""
    content: dict[str, list[tuple[Any, np.ndarray, Any]]] = {}
    for e in entries:
        content.setdefault(f"model.layers.{e.layer}.self_attn.head_out", []).append(
            (np.int64(e.head), e.unit.astype(np.float16), np.float16(e.scale))
        )
    for heads in content.values():
        heads.sort(key=lambda item: item[0])
    data = pickle.dumps(content, protocol=2)
    data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    stem = Path(path).stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{stem}/data.pkl", data)
        archive.writestr(f"{stem}/byteorder", "little")
        archive.writestr(f"{stem}/version", "3\n")
