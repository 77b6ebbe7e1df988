"""The released `.safelock` file: a pickle in a ZIP, read without executing anything of it.

A dict of `model.layers.{l}.self_attn.head_out` → list of (head, float16 direction, float16 σ), read
by `inert_pickle`, which calls nothing that a file names.
"""

import pickle
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import DirectionError, UnsafeFileError
from workbench.steering import inert_pickle
from workbench.writing import whole

MAX_BYTES = 16 * 2**20
"""Of the pickle, and of the archive around it; a lock of all heads of a 70B model takes 3 MB."""
_LEAST, _MOST = float(np.finfo(np.float16).smallest_normal), float(np.finfo(np.float16).max)
_KEY = re.compile(r"model\.layers\.(0|[1-9][0-9]{0,5})\.self_attn\.head_out")


@dataclass(frozen=True)
class Entry:
    """One head: `unit` is a vector `[d_head]`, `scale` its σ."""

    layer: int
    head: int
    unit: np.ndarray
    scale: float


def read(path: str | Path) -> list[Entry]:
    """All heads, in file order.

    Raises `UnsafeFileError` for what the format has no need of (a forbidden name, a call, more than
    `MAX_BYTES`; nothing is executed) or `DirectionError` for a file that is not this format.
    """
    return _entries(inert_pickle.loads(_pickle_of(Path(path)), str(path)), str(path))


def _pickle_of(path: Path) -> bytes:
    """The bytes of `*/data.pkl`; sizes that headers announce are not believed."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnsafeFileError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith("/data.pkl")]
            if len(members) != 1:
                names = [name[:80] for name in archive.namelist()[:5]]
                raise DirectionError(f"{path}: expected one */data.pkl, found {names}")
            if members[0].flag_bits & 1:
                raise DirectionError(f"{path}: data.pkl is encrypted; save it without a password")
            with archive.open(members[0]) as file:
                data = file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, zlib.error) as error:
        raise DirectionError(f"{path} is no .safelock archive: {error}") from error
    if len(data) > MAX_BYTES:
        raise UnsafeFileError(f"{path}: data.pkl expands to more than {MAX_BYTES} bytes")
    return data


def _entries(content: Any, path: str) -> list[Entry]:
    if not isinstance(content, dict):
        raise DirectionError(f"{path} holds a {type(content).__name__}, not a dict of layers")
    entries: list[Entry] = []
    for key, items in content.items():
        match = _KEY.fullmatch(key)
        if not match or not isinstance(items, list):
            raise DirectionError(
                f"{path}: key {key[:80]!r} is not model.layers.N.self_attn.head_out with a list"
            )
        for number, item in enumerate(items):
            entries.append(_entry(int(match[1]), item, f"{path}: layer {match[1]} entry {number}"))
    if not entries:
        raise DirectionError(f"{path} holds no heads")
    width = len(entries[0].unit)
    for entry in entries:
        if len(entry.unit) != width:
            raise DirectionError(
                f"{path}: layer {entry.layer} head {entry.head} has a direction of "
                f"{len(entry.unit)} numbers, layer {entries[0].layer} head {entries[0].head} one "
                f"of {width}"
            )
    return entries


def _entry(layer: int, item: Any, where: str) -> Entry:
    if not isinstance(item, tuple) or len(item) != 3 or not isinstance(item[1], np.ndarray):
        raise DirectionError(f"{where} is not (head, vector, σ)")
    head, unit, scale = item
    if isinstance(head, bool) or not isinstance(head, int | np.integer) or not 0 <= head < 10**6:
        kind = type(head).__name__
        raise DirectionError(f"{where}: the head is a {kind} ({_shown(head)}), not a whole number")
    if isinstance(scale, bool) or not isinstance(scale, int | float | np.number):
        raise DirectionError(
            f"{where}: σ of layer {layer} head {head} is a {type(scale).__name__}, not a number"
        )
    if unit.dtype.kind != "f":
        raise DirectionError(f"{where}: the direction of layer {layer} head {head} is {unit.dtype}")
    try:
        sigma = float(scale)
    except OverflowError:
        raise DirectionError(f"{where}: σ of layer {layer} head {head} is too large") from None
    return Entry(layer, int(head), unit.astype(unit.dtype.newbyteorder("=")), sigma)


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, str | float | np.generic) else "…"


def write(path: str | Path, entries: list[Entry]) -> None:
    """Write entries as the official loader expects: protocol 2, old numpy module path, float16.

    Whole or not at all. Raises `DirectionError` for a σ that float16 has no normal number for.
    """
    content: dict[str, list[tuple[Any, np.ndarray, Any]]] = {}
    for e in entries:
        with np.errstate(over="ignore"):
            scale = np.float16(e.scale)
        # Below the normal numbers halves keep fewer digits, and none at all in the end.
        if float(scale) != e.scale and not _LEAST <= e.scale <= _MOST:
            raise DirectionError(
                f"layer {e.layer} head {e.head}: scale {e.scale:.3g} does not fit into the half "
                "precision of a .safelock; save() keeps it, in a .safetensors file"
            )
        content.setdefault(f"model.layers.{e.layer}.self_attn.head_out", []).append(
            (np.int64(e.head), e.unit.astype(np.float16), scale)
        )
    data = pickle.dumps(content, protocol=2)
    data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    stem = Path(path).stem
    with whole(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, part in (("data.pkl", data), ("byteorder", "little"), ("version", "3\n")):
            archive.writestr(zipfile.ZipInfo(f"{stem}/{name}"), part)  # dated 1980, as torch does
