"""Directions in activation space: of attention heads, and of the residual stream."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from workbench.activations.capture import Activations
from workbench.arguments import indices, listed
from workbench.errors import DirectionError
from workbench.hashing import digest
from workbench.models.model import Model
from workbench.steering import direction_files, safelock
from workbench.steering.contrasts import Place, contrast_directions, place_name
from workbench.steering.units import normalised

log = logging.getLogger(__name__)


class _Directions:
    """What both kinds share: K places, with a unit vector and a scale for each.

    A place is (layer, head) or (layer,): one index from each of the tensors named in `AXES`.
    """

    FORMAT: ClassVar[str]
    SITE: ClassVar[str]
    WIDTH: ClassVar[str]
    AXES: ClassVar[tuple[str, ...]]

    layer: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        self._store_as_documented()
        k = len(self.layer)
        columns = [getattr(self, name) for name in (*self.AXES, "scale")]
        if any(t.shape != (k,) for t in columns) or self.unit.dim() != 2 or k == 0:
            raise DirectionError(
                f"{', '.join(self.AXES)}, scale must be [K] and unit [K, {self.WIDTH}] with K ≥ 1"
            )
        if len(self.unit) != k:
            raise DirectionError(f"{k} scales but {len(self.unit)} unit vectors")
        norms = self.unit.double().norm(dim=1)
        seen: set[Place] = set()
        for i, place in enumerate(self._places):
            name = place_name(place)
            if place in seen or not all(0 <= index < 2**31 for index in place):
                problem = "twice" if place in seen else "index out of range"
                raise DirectionError(f"{name}: {problem}")
            seen.add(place)
            if not torch.isfinite(self.unit[i]).all() or not torch.isfinite(self.scale[i]):
                raise DirectionError(f"{name}: NaN or infinite values")
            if abs(norms[i].item() - 1) > 0.01:
                raise DirectionError(f"{name}: direction has norm {norms[i]:.4f}, not 1")
            if self.scale[i] <= 0:
                raise DirectionError(f"{name}: scale {self.scale[i]:.4g} is not positive")
        object.__setattr__(self, "unit", normalised(self.unit))

    def _store_as_documented(self) -> None:
        """int64 and float32 on the CPU, so that what is saved is all that there was."""
        for name, tensor in self._tensors().items():
            if name in self.AXES and tensor.is_floating_point():
                raise DirectionError(f"{name} must be whole numbers, not {tensor}")
            dtype = torch.int64 if name in self.AXES else torch.float32
            object.__setattr__(self, name, tensor.detach().to("cpu", dtype))

    @property
    def _places(self) -> list[Place]:
        return list(zip(*(getattr(self, name).tolist() for name in self.AXES), strict=True))

    def __len__(self) -> int:
        """Heads, or layers."""
        return len(self.layer)

    def __str__(self) -> str:
        heads: dict[int, list[int]] = {}
        for layer, *head in self._places:
            heads.setdefault(layer, []).extend(head)
        listed = ", ".join(
            f"{i} {{{','.join(map(str, sorted(h)))}}}" if h else str(i) for i, h in heads.items()
        )
        legend = "layer {heads}" if "head" in self.AXES else "layers"
        return (
            f"{type(self).__name__}: {len(self)} {self.AXES[-1]}s in layers {self.layer.min()}–"
            f"{self.layer.max()}, {self.WIDTH} {self.unit.shape[1]}, scale "
            f"{self.scale.min():.3f}–{self.scale.max():.3f}, model "
            f"{self.provenance.get('model', 'unknown')}\n  {legend}: {listed}"
        )

    @classmethod
    def _contrast(
        cls,
        acts: Activations,
        labels: Sequence[int] | torch.Tensor,
        places: Sequence[Place],
        method: str,
        groups: Sequence[int] | torch.Tensor | None,
        provenance: dict[str, Any],
    ) -> Self:
        if acts.site != cls.SITE:
            raise DirectionError(f"{cls.__name__} needs site {cls.SITE!r}, not {acts.site!r}")
        places, unit, scale = contrast_directions(acts, labels, groups, places, method)
        return cls(
            *torch.tensor(places).unbind(1),
            unit=unit,
            scale=scale,
            provenance={
                "method": method,
                "model": acts.model,
                "sizes": acts.sizes,
                "positions": [acts.positions.kind, acts.positions.k],
                "rows": int(acts.lengths.sum()),
                "libraries": acts.libraries,
                **provenance,
            },
        )

    def check(self, model: Model) -> None:
        """Raise `DirectionError`, naming both sizes, where this does not fit the model."""
        sizes, width = self.provenance.get("sizes", {}), model.sizes[self.WIDTH]
        names = ("n_layers", "n_heads", self.WIDTH) if "head" in self.AXES else ("n_layers",)
        problems = [
            f"{name}: direction {sizes[name]}, model {model.sizes[name]}"
            for name in names
            if sizes.get(name, model.sizes[name]) != model.sizes[name]
        ]
        if self.unit.shape[1] != width:
            problems.append(f"{self.WIDTH}: direction {self.unit.shape[1]}, model {width}")
        for name in self.AXES:
            highest, size = int(getattr(self, name).max()), model.sizes[f"n_{name}s"]
            if highest >= size:
                problems.append(f"{name} {highest} of a model with {size} {name}s")
        if problems:
            raise DirectionError(f"direction does not fit {model.name}: " + "; ".join(problems))
        if (base := self.provenance.get("model")) not in (None, "", model.name):
            log.info("direction of %s used on %s", base, model.name)

    def pick(self, rows: Sequence[int]) -> Self:
        """The directions in these rows (indices into `unit`), in that order."""
        index = torch.tensor(indices("rows", rows, len(self), DirectionError))
        return replace(self, **{name: tensor[index] for name, tensor in self._tensors().items()})

    def digest(self) -> str:
        """16 hex digits of the site, heads or layers, unit vectors and scales: of what is added."""
        content = [f"{self.SITE}{tuple(self.unit.shape)}".encode()]
        content += [t.contiguous().numpy().tobytes() for t in self._tensors().values()]
        return digest(b"".join(content))

    def rotated(self, unit: torch.Tensor, **provenance: Any) -> Self:
        """The same heads or layers and scales along other unit vectors `[K, d]`: for controls."""
        return replace(self, unit=unit, provenance={**self.provenance, **provenance})

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with provenance in its header, whole or not at all."""
        tensors = {name: getattr(self, name).int() for name in self.AXES}
        tensors |= {"unit": self.unit, "scale": self.scale}
        direction_files.write(path, self.FORMAT, tensors, self.provenance)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. `DirectionError` for a truncated, foreign or non-finite file."""
        names = (*cls.AXES, "unit", "scale")
        tensors, provenance = direction_files.read(path, cls.FORMAT, names, cls.__name__)
        return cls(**tensors, provenance=provenance)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in (*self.AXES, "unit", "scale")}


@dataclass(frozen=True)
class HeadDirections(_Directions):
    """K attention-head directions: shift head (layer, head) by alpha · scale · unit.

    >>> lock = wb.HeadDirections.contrast(acts, labels, probes.top(12))
    >>> lock.save("lock.safetensors")

    `layer`, `head`: int64 `[K]`, query heads. `unit`: float32 `[K, d_head]`, norm 1. `scale`:
    float32 `[K]`, standard deviation of the data along the direction. `provenance`: where it comes
    from (model, sizes, method, …), JSON-serialisable.
    """

    FORMAT = "workbench.head_directions.1"
    SITE = "heads"
    WIDTH = "d_head"
    AXES = ("layer", "head")

    layer: torch.Tensor
    head: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> list[tuple[int, int]]:
        """The (layer, head) of every row."""
        return self._places

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
        """Write the released format, half precision, readable by the official loader.

        What was read from a released file is written bit for bit. Raises `DirectionError` for a
        scale that half precision cannot hold.
        """
        rows = zip(self.heads, self.unit.numpy(), self.scale.tolist(), strict=True)
        safelock.write(path, [safelock.Entry(*head, unit, scale) for head, unit, scale in rows])


@dataclass(frozen=True)
class ResidualDirection(_Directions):
    """Directions in the residual stream: shift the output of block `layer` by alpha · scale · unit.

    >>> acts = wb.capture(model, chats, "resid")
    >>> direction = wb.ResidualDirection.contrast(acts, labels, layers=[8])

    `layer`: int64 `[L]`. `unit`: float32 `[L, d_model]`, norm 1. `scale`: float32 `[L]`, standard
    deviation of the data along the direction. `provenance`: as for `HeadDirections`.
    """

    FORMAT = "workbench.residual_direction.1"
    SITE = "resid"
    WIDTH = "d_model"
    AXES = ("layer",)

    layer: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> list[int]:
        """The layer of every row."""
        return self.layer.tolist()

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
        asked = listed("layers", acts.layers if layers is None else layers, DirectionError)
        return cls._contrast(acts, labels, [(i,) for i in asked], method, groups, provenance)


def read_direction(path: str | Path) -> HeadDirections | ResidualDirection:
    """Directions of either kind from a `.safetensors`, or a released `.safelock`, file.

    Raises as `load` and `from_safelock`.
    """
    if Path(path).suffix == ".safelock":
        return HeadDirections.from_safelock(path)
    residual = direction_files.format_of(path) == ResidualDirection.FORMAT
    return (ResidualDirection if residual else HeadDirections).load(path)
