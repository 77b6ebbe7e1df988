"""Directions in activation space: contrast, save, load, import."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workbench import safelock
from workbench.activations import Activations
from workbench.errors import DirectionError
from workbench.models import Model

log = logging.getLogger(__name__)

FORMAT = "workbench.head_directions.1"


@dataclass(frozen=True)
class HeadDirections:
    """K attention-head directions: shift head (layer, head) by alpha · scale · unit.

    `layer`, `head`: int64 `[K]`, query heads. `unit`: float32 `[K, d_head]`, norm 1. `scale`:
    float32 `[K]`, standard deviation of the data along the direction. `provenance`: where it comes
    from (model, sizes, method, …), JSON-serialisable.
    """

    layer: torch.Tensor
    head: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        k = len(self.layer)
        if self.head.shape != (k,) or self.scale.shape != (k,) or self.unit.dim() != 2 or k == 0:
            raise DirectionError("layer, head, scale must be [K] and unit [K, d_head] with K ≥ 1")
        if len(self.unit) != k:
            raise DirectionError(f"{k} heads but {len(self.unit)} unit vectors")
        seen: set[tuple[int, int]] = set()
        norms = self.unit.norm(dim=1)
        for i, cell in enumerate(self.cells):
            where = f"layer {cell[0]} head {cell[1]}"
            if min(cell) < 0 or cell in seen:
                raise DirectionError(f"{where}: {'negative index' if min(cell) < 0 else 'twice'}")
            seen.add(cell)
            if not torch.isfinite(self.unit[i]).all() or not torch.isfinite(self.scale[i]):
                raise DirectionError(f"{where}: NaN or infinite values")
            if abs(norms[i].item() - 1) > 0.01:
                raise DirectionError(f"{where}: direction has norm {norms[i]:.4f}, not 1")
            if self.scale[i] <= 0:
                raise DirectionError(f"{where}: scale {self.scale[i]:.4g} is not positive")
        object.__setattr__(self, "unit", self.unit / norms[:, None])

    @property
    def cells(self) -> list[tuple[int, int]]:
        """The heads as (layer, head) pairs, in stored order."""
        return list(zip(self.layer.tolist(), self.head.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.layer)

    def __str__(self) -> str:
        by_layer: dict[int, list[int]] = {}
        for layer, head in self.cells:
            by_layer.setdefault(layer, []).append(head)
        heads = ", ".join(f"{i} {{{','.join(map(str, sorted(h)))}}}" for i, h in by_layer.items())
        layers = self.layer
        return (
            f"HeadDirections: {len(self)} heads in layers {layers.min()}–{layers.max()}, "
            f"d_head {self.unit.shape[1]}, scale {self.scale.min():.3f}–{self.scale.max():.3f}, "
            f"model {self.provenance.get('model', 'unknown')}\n  layer {{heads}}: {heads}"
        )

    @classmethod
    def contrast(
        cls,
        acts: Activations,
        labels: Sequence[int] | torch.Tensor,
        heads: Sequence[tuple[int, int]],
        **provenance: Any,
    ) -> "HeadDirections":
        """Unit difference of class means per head, and the spread of all rows along it.

        θ = (μ₁ − μ₀)/‖μ₁ − μ₀‖ and σ = population standard deviation of x·θ over the rows of both
        classes (SafetyLock, step 4), in float64. Heads whose class means coincide are skipped with
        a warning; `DirectionError` where none is left.
        """
        if acts.site != "heads":
            raise DirectionError(f"head directions need site 'heads', not {acts.site!r}")
        rows, prompt = acts.rows()
        y = torch.as_tensor(labels)[prompt].bool()
        if y.all() or not y.any():
            raise DirectionError("both classes are needed; the labels hold one only")
        kept, units, scales = [], [], []
        for layer, head in heads:
            x = rows[:, acts.layers.index(layer), head].double()
            difference = x[y].mean(0) - x[~y].mean(0)
            norm = difference.norm()
            if norm < 1e-12:
                log.warning("layer %d head %d: class means coincide, skipped", layer, head)
                continue
            unit = difference / norm
            kept.append((layer, head))
            units.append(unit)
            scales.append((x @ unit).std(correction=0))
        if not kept:
            raise DirectionError("the class means coincide in every head asked for")
        layer, head = torch.tensor(kept).unbind(1)
        return cls(
            layer=layer,
            head=head,
            unit=torch.stack(units).float(),
            scale=torch.stack(scales).float(),
            provenance={
                "method": "contrast",
                "model": acts.model,
                "sizes": acts.sizes,
                "positions": [acts.positions.kind, acts.positions.k],
                "rows": len(rows),
                **provenance,
            },
        )

    def check(self, model: Model) -> None:
        """Raise `DirectionError`, naming both sizes, where this does not fit the model."""
        own = self.provenance.get("sizes", {})
        problems = [
            f"{name}: direction {own[name]}, model {size}"
            for name, size in model.sizes.items()
            if name in ("n_layers", "n_heads", "d_head") and own.get(name, size) != size
        ]
        if self.unit.shape[1] != model.d_head:
            problems.append(f"d_head: direction {self.unit.shape[1]}, model {model.d_head}")
        if self.layer.max() >= model.n_layers:
            problems.append(f"layer {self.layer.max()} of a model with {model.n_layers} layers")
        if self.head.max() >= model.n_heads:
            problems.append(f"head {self.head.max()} of a model with {model.n_heads} heads")
        if problems:
            raise DirectionError(f"direction does not fit {model.name}: " + "; ".join(problems))
        base = self.provenance.get("model")
        if base and base != model.name:
            log.info("direction of %s used on %s", base, model.name)

    def pick(self, rows: Sequence[int]) -> "HeadDirections":
        """Some of the heads, by their place in this object."""
        index = torch.tensor(rows)
        tensors = (t[index] for t in (self.layer, self.head, self.unit, self.scale))
        return HeadDirections(*tensors, self.provenance)

    def digest(self) -> str:
        """16 hex digits of the heads, directions and scales."""
        content = [t.contiguous().numpy().tobytes() for t in (self.layer, self.head)]
        content += [t.float().contiguous().numpy().tobytes() for t in (self.unit, self.scale)]
        return hashlib.sha256(b"".join(content)).hexdigest()[:16]

    def rotated(self, unit: torch.Tensor, **provenance: Any) -> "HeadDirections":
        """The same heads and scales along other unit vectors `[K, d_head]`: for controls."""
        return replace(self, unit=unit, provenance={**self.provenance, **provenance})

    def save(self, path: str | Path) -> None:
        """Write as safetensors with provenance in its header."""
        tensors = {
            "layer": self.layer.int(),
            "head": self.head.int(),
            "unit": self.unit.float().contiguous(),
            "scale": self.scale.float(),
        }
        header = {"format": FORMAT, "provenance": json.dumps(self.provenance)}
        save_file(tensors, str(path), header)

    @classmethod
    def load(cls, path: str | Path) -> "HeadDirections":
        """Read what `save` wrote. `DirectionError` for a truncated, foreign or non-finite file."""
        try:
            with safe_open(str(path), "pt") as file:
                header = file.metadata() or {}
                names = set(file.keys())
                if header.get("format") != FORMAT or names != {"layer", "head", "unit", "scale"}:
                    raise DirectionError(
                        f"{path} is no direction file: format {header.get('format')!r} with "
                        f"tensors {sorted(names)}, expected {FORMAT!r}"
                    )
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise DirectionError(f"{path} cannot be read as safetensors: {error}") from error
        return cls(
            layer=tensors["layer"].long(),
            head=tensors["head"].long(),
            unit=tensors["unit"],
            scale=tensors["scale"],
            provenance=json.loads(header["provenance"]),
        )

    @classmethod
    def from_safelock(cls, path: str | Path) -> "HeadDirections":
        """Read a released `.safelock` file; nothing in it is executed (`workbench.safelock`)."""
        entries = safelock.read(path)
        return cls(
            layer=torch.tensor([e.layer for e in entries]),
            head=torch.tensor([e.head for e in entries]),
            unit=torch.stack([torch.from_numpy(e.unit).float() for e in entries]),
            scale=torch.tensor([e.scale for e in entries], dtype=torch.float32),
            provenance={"method": "safelock", "model": Path(path).stem, "file": Path(path).name},
        )

    def to_safelock(self, path: str | Path) -> None:
        """Write the released format, half precision, readable by the official loader."""
        safelock.write(
            path,
            [
                safelock.Entry(layer, head, unit.numpy(), scale)
                for (layer, head), unit, scale in zip(
                    self.cells, self.unit, self.scale.tolist(), strict=True
                )
            ],
        )
