"""Directions in activation space: contrast, save, load, import."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workbench.activations.capture import Activations
from workbench.errors import DirectionError
from workbench.hashing import digest
from workbench.models.model import Model
from workbench.steering import safelock
from workbench.steering.contrasts import contrast_directions

log = logging.getLogger(__name__)


class _Directions:
    """What both kinds share: K places, with a unit vector and a scale for each."""

    FORMAT: ClassVar[str]
    SITE: ClassVar[str]
    WIDTH: ClassVar[str]
    PLACE: ClassVar[tuple[str, ...]]

    layer: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        k = len(self.layer)
        places = [getattr(self, name) for name in self.PLACE]
        if any(t.shape != (k,) for t in (*places, self.scale)) or self.unit.dim() != 2 or k == 0:
            raise DirectionError(
                f"{', '.join(self.PLACE)}, scale must be [K] and unit [K, {self.WIDTH}] with K ≥ 1"
            )
        if len(self.unit) != k:
            raise DirectionError(f"{k} places but {len(self.unit)} unit vectors")
        seen: set[tuple[int, ...]] = set()
        norms = self.unit.double().norm(dim=1)
        for i, cell in enumerate(self.cells):
            where = self._named(cell)
            if min(cell) < 0 or cell in seen:
                raise DirectionError(f"{where}: {'negative index' if min(cell) < 0 else 'twice'}")
            seen.add(cell)
            if not torch.isfinite(self.unit[i]).all() or not torch.isfinite(self.scale[i]):
                raise DirectionError(f"{where}: NaN or infinite values")
            if abs(norms[i].item() - 1) > 0.01:
                raise DirectionError(f"{where}: direction has norm {norms[i]:.4f}, not 1")
            if self.scale[i] <= 0:
                raise DirectionError(f"{where}: scale {self.scale[i]:.4g} is not positive")
        # Within rounding of norm 1 they stay: dividing again would move last bits, and the digest.
        inexact = (norms - 1).abs() > 4 * torch.finfo(self.unit.dtype).eps
        if inexact.any():
            exact = (self.unit.double() / norms[:, None]).to(self.unit.dtype)
            object.__setattr__(self, "unit", torch.where(inexact[:, None], exact, self.unit))

    @property
    def cells(self) -> list[tuple[int, ...]]:
        """The places, (layer, head) or (layer,), in stored order."""
        columns = (getattr(self, name).tolist() for name in self.PLACE)
        return list(zip(*columns, strict=True))

    @classmethod
    def _named(cls, cell: tuple[int, ...]) -> str:
        return " ".join(f"{name} {i}" for name, i in zip(cls.PLACE, cell, strict=True))

    def __len__(self) -> int:
        return len(self.layer)

    def __str__(self) -> str:
        by_layer: dict[int, list[int]] = {}
        for layer, *rest in self.cells:
            by_layer.setdefault(layer, []).extend(rest)
        places = ", ".join(
            f"{i} {{{','.join(map(str, sorted(h)))}}}" if h else str(i) for i, h in by_layer.items()
        )
        noun, legend = ("heads", "layer {heads}") if "head" in self.PLACE else ("layers", "layers")
        return (
            f"{type(self).__name__}: {len(self)} {noun} in layers {self.layer.min()}–"
            f"{self.layer.max()}, {self.WIDTH} {self.unit.shape[1]}, scale "
            f"{self.scale.min():.3f}–{self.scale.max():.3f}, model "
            f"{self.provenance.get('model', 'unknown')}\n  {legend}: {places}"
        )

    @classmethod
    def _contrast(
        cls,
        acts: Activations,
        labels: Sequence[int] | torch.Tensor,
        cells: Sequence[tuple[int, ...]],
        method: str,
        groups: Sequence[int] | torch.Tensor | None,
        provenance: dict[str, Any],
    ) -> Self:
        if acts.site != cls.SITE:
            raise DirectionError(f"{cls.__name__} needs site {cls.SITE!r}, not {acts.site!r}")
        kept, unit, scale = contrast_directions(acts, labels, groups, cells, method)
        places = dict(zip(cls.PLACE, torch.tensor(kept).unbind(1), strict=True))
        return cls(
            **places,
            unit=unit,
            scale=scale,
            provenance={
                "method": method,
                "model": acts.model,
                "sizes": acts.sizes,
                "positions": [acts.positions.kind, acts.positions.k],
                "rows": int(acts.lengths.sum()),
                **provenance,
            },
        )

    def check(self, model: Model) -> None:
        """Raise `DirectionError`, naming both sizes, where this does not fit the model."""
        own, width = self.provenance.get("sizes", {}), model.sizes[self.WIDTH]
        names = ("n_layers", "n_heads", self.WIDTH) if "head" in self.PLACE else ("n_layers",)
        problems = [
            f"{name}: direction {own[name]}, model {model.sizes[name]}"
            for name in names
            if own.get(name, model.sizes[name]) != model.sizes[name]
        ]
        if self.unit.shape[1] != width:
            problems.append(f"{self.WIDTH}: direction {self.unit.shape[1]}, model {width}")
        for name in self.PLACE:
            top, size = int(getattr(self, name).max()), model.sizes[f"n_{name}s"]
            if top >= size:
                problems.append(f"{name} {top} of a model with {size} {name}s")
        if problems:
            raise DirectionError(f"direction does not fit {model.name}: " + "; ".join(problems))
        base = self.provenance.get("model")
        if base and base != model.name:
            log.info("direction of %s used on %s", base, model.name)

    def pick(self, rows: Sequence[int]) -> Self:
        """Some of the places, by their row in this object."""
        index = torch.tensor(rows)
        tensors = {name: getattr(self, name)[index] for name in (*self.PLACE, "unit", "scale")}
        return replace(self, **tensors)

    def digest(self) -> str:
        """16 hex digits of the places, directions and scales."""
        content = [getattr(self, n).contiguous().numpy().tobytes() for n in self.PLACE]
        content += [t.float().contiguous().numpy().tobytes() for t in (self.unit, self.scale)]
        return digest(b"".join(content))

    def rotated(self, unit: torch.Tensor, **provenance: Any) -> Self:
        """The same places and scales along other unit vectors `[K, d]`: for controls."""
        return replace(self, unit=unit, provenance={**self.provenance, **provenance})

    def save(self, path: str | Path) -> None:
        """Write as safetensors with provenance in its header."""
        tensors = {name: getattr(self, name).int().contiguous() for name in self.PLACE}
        tensors |= {"unit": self.unit.float().contiguous(), "scale": self.scale.float()}
        header = {"format": self.FORMAT, "provenance": json.dumps(self.provenance)}
        save_file(tensors, str(path), header)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. `DirectionError` for a truncated, foreign or non-finite file."""
        expected = {*cls.PLACE, "unit", "scale"}
        try:
            with safe_open(str(path), "pt") as file:
                header = file.metadata() or {}
                names = set(file.keys())
                if header.get("format") != cls.FORMAT or names != expected:
                    raise DirectionError(
                        f"{path} is no {cls.__name__} file: format {header.get('format')!r} with "
                        f"tensors {sorted(names)}, expected {cls.FORMAT!r}"
                    )
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise DirectionError(f"{path} cannot be read as safetensors: {error}") from error
        tensors |= {name: tensors[name].long() for name in cls.PLACE}
        return cls(**tensors, provenance=json.loads(header["provenance"]))


@dataclass(frozen=True)
class HeadDirections(_Directions):
    """K attention-head directions: shift head (layer, head) by alpha · scale · unit.

    `layer`, `head`: int64 `[K]`, query heads. `unit`: float32 `[K, d_head]`, norm 1. `scale`:
    float32 `[K]`, standard deviation of the data along the direction. `provenance`: where it comes
    from (model, sizes, method, …), JSON-serialisable.
    """

    FORMAT = "workbench.head_directions.1"
    SITE = "heads"
    WIDTH = "d_head"
    PLACE = ("layer", "head")

    layer: torch.Tensor
    head: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def contrast(
        cls,
        acts: Activations,
        labels: Sequence[int] | torch.Tensor,
        heads: Sequence[tuple[int, int]],
        method: str = "mean",
        groups: Sequence[int] | torch.Tensor | None = None,
        **provenance: Any,
    ) -> "HeadDirections":
        """What separates the two classes in each head, and the spread of all rows along it.

        `labels`: 0/1 per prompt; the direction points to 1. `method`: `"mean"` difference of class
        means θ = (μ₁ − μ₀)/‖μ₁ − μ₀‖ (SafetyLock, step 4), `"lda"` or `"pca"` (`contrasts`);
        `groups` (one id per prompt, say its pair) matter to `"pca"` only. The scale is the
        population standard deviation of x·θ over the rows of both classes. All in float64.

        Heads whose class means coincide are skipped with a warning. Raises `DirectionError` where
        none is left, for one class, another site or an unknown method.
        """
        return cls._contrast(acts, labels, heads, method, groups, provenance)

    @classmethod
    def from_safelock(cls, path: str | Path) -> "HeadDirections":
        """Read a released `.safelock` file; nothing in it is executed (`steering.safelock`)."""
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


@dataclass(frozen=True)
class ResidualDirection(_Directions):
    """Directions in the residual stream: shift the output of block `layer` by alpha · scale · unit.

    `layer`: int64 `[L]`. `unit`: float32 `[L, d_model]`, norm 1. `scale`: float32 `[L]`, standard
    deviation of the data along the direction. `provenance`: as for `HeadDirections`.
    """

    FORMAT = "workbench.residual_direction.1"
    SITE = "resid"
    WIDTH = "d_model"
    PLACE = ("layer",)

    layer: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def contrast(
        cls,
        acts: Activations,
        labels: Sequence[int] | torch.Tensor,
        layers: Sequence[int] | None = None,
        method: str = "mean",
        groups: Sequence[int] | torch.Tensor | None = None,
        **provenance: Any,
    ) -> "ResidualDirection":
        """What separates the two classes after each of `layers` (all captured ones by default).

        Everything else as `HeadDirections.contrast`, on activations of site `"resid"`.
        """
        cells = [(layer,) for layer in (acts.layers if layers is None else layers)]
        return cls._contrast(acts, labels, cells, method, groups, provenance)


def read_direction(path: str | Path) -> HeadDirections | ResidualDirection:
    """A direction of either kind from a `.safetensors`, or a released `.safelock`, file.

    Raises as `load` and `from_safelock`.
    """
    if Path(path).suffix == ".safelock":
        return HeadDirections.from_safelock(path)
    # A file that cannot be read is refused by load, which says why.
    with suppress(SafetensorError, OSError), safe_open(str(path), "pt") as file:
        if (file.metadata() or {}).get("format") == ResidualDirection.FORMAT:
            return ResidualDirection.load(path)
    return HeadDirections.load(path)
