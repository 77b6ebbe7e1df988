"""Directions on disk: safetensors with a format and the provenance in the header."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from workbench.errors import DirectionError
from workbench.reading import parse_json
from workbench.writing import whole


def write(
    path: str | Path, format_name: str, tensors: dict[str, torch.Tensor], provenance: dict[str, Any]
) -> None:
    """Write tensors and provenance (JSON-serialisable), whole or not at all; equals as equal bytes.

    safetensors writes the entries of its header in another order every time.
    """
    header = {"format": format_name, "provenance": json.dumps(provenance)}
    content = save({name: t.contiguous() for name, t in tensors.items()}, header)
    end = 8 + int.from_bytes(content[:8], "little")
    entries = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    entries += b" " * (-len(entries) % 8)
    with whole(path) as partial:
        partial.write_bytes(len(entries).to_bytes(8, "little") + entries + content[end:])


def read(
    path: str | Path, format_name: str, names: Sequence[str], kind: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors, provenance) of what `write` wrote; `kind` is what the caller calls such a file.

    Raises `DirectionError` for a truncated file, another format or other tensors than `names`.
    """
    try:
        with safe_open(str(path), "pt") as file:
            header, stored = file.metadata() or {}, set(file.keys())
            if header.get("format") != format_name or stored != set(names):
                raise DirectionError(
                    f"{path} is no {kind} file: format {header.get('format')!r} with tensors "
                    f"{sorted(stored)}, expected {format_name!r}"
                )
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise DirectionError(f"{path} cannot be read as safetensors: {error}") from error
    # Not `finite`: what was written here may hold the NaN of a measure.
    place = f"{path}: its provenance"
    provenance = parse_json(header.get("provenance", ""), place, DirectionError, finite=False)
    if not isinstance(provenance, dict):
        raise DirectionError(f"{path}: its provenance is a {type(provenance).__name__}, no object")
    return tensors, provenance


def format_of(path: str | Path) -> str | None:
    """The format that a file's header names; None where there is none, or no such file."""
    try:
        with safe_open(str(path), "pt") as file:
            return (file.metadata() or {}).get("format")
    except (SafetensorError, OSError):
        return None
