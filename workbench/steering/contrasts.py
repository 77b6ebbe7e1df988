"""Unit vectors that separate two classes of activations: mean difference, LDA, PCA."""

import logging
import math
from collections.abc import Callable, Sequence

import torch

from workbench.activations.capture import Activations
from workbench.arguments import binary, different, listed, numbered, whole
from workbench.errors import DirectionError

log = logging.getLogger(__name__)

Method = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Place = tuple[int, ...]
"""Where a direction acts: (layer, head), or (layer,) for a site without heads."""


def mean_difference(x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """μ₁ − μ₀ (SafetyLock, step 4). x float64 `[n, d]`, y bool `[n]` → `[d]`; groups are unused."""
    return x[y].mean(0) - x[~y].mean(0)


def lda(x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Σ⁻¹(μ₁ − μ₀): Fisher's discriminant, Σ the pooled within-class covariance.

    Σ is shrunk towards a multiple of the identity by Ledoit and Wolf's rule (2004, "A
    well-conditioned estimator for large-dimensional covariance matrices"), so that fewer rows than
    dimensions are no obstacle.
    """
    centred = torch.where(y[:, None], x - x[y].mean(0), x - x[~y].mean(0))
    return torch.linalg.solve(ledoit_wolf(centred), mean_difference(x, y, groups))


def pca(x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """First principal axis of the rows centred within their group, towards class 1.

    With one group per preference pair this is the axis of the pair differences (representation
    engineering's reader); with one group in all, ordinary PCA.
    """
    ids, place = groups.unique(return_inverse=True)
    sums = torch.zeros(len(ids), x.shape[1], dtype=x.dtype).index_add_(0, place, x)
    centred = x - (sums / place.bincount()[:, None].to(x.dtype))[place]
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    return axis * (1 if axis @ mean_difference(x, y, groups) >= 0 else -1)


METHODS: dict[str, Method] = {"mean": mean_difference, "lda": lda, "pca": pca}


def ledoit_wolf(centred: torch.Tensor) -> torch.Tensor:
    """Shrunk covariance `[d, d]` of centred rows `[n, d]`: (1 − s) S + s (tr S / d) I."""
    n, d = centred.shape
    cov = centred.T @ centred / n
    mu = cov.trace() / d
    squares = centred.square()
    # ‖S − μI‖² is what shrinking can gain; the spread of single rows' outer products, what it must.
    delta = cov.square().sum() - d * mu**2
    beta = ((squares.sum(1).square().sum() / n) - cov.square().sum()) / n
    share = min(1.0, float(beta / delta)) if delta > 0 else 1.0
    eye = torch.eye(d, dtype=centred.dtype)
    # A constant activation leaves μ = 0; the tiny ridge keeps the solve defined.
    return (1 - share) * cov + (share * mu + 1e-12) * eye


def place_name(place: Place) -> str:
    """`layer 2 head 5` of (2, 5), `layer 2` of (2,)."""
    return " ".join(f"{axis} {i}" for axis, i in zip(("layer", "head"), place, strict=False))


def contrast_directions(
    acts: Activations,
    labels: Sequence[int] | torch.Tensor,
    groups: Sequence[int] | torch.Tensor | None,
    places: Sequence[Place],
    method: str,
) -> tuple[list[Place], torch.Tensor, torch.Tensor]:
    """(places, unit float32 `[K, d]`, scale float32 `[K]`) of what separates the labels in each.

    `places`: heads or layers; one whose class means coincide is left out with a warning. The scale
    is the population standard deviation along the unit vector. All in float64.

    Raises `DirectionError` for an unknown method, labels that are not 0 and 1, labels or groups of
    another length, one class, a place that was not captured or is there twice, or where none is
    left.
    """
    if method not in METHODS:
        raise DirectionError(f"unknown method {method!r}; methods are {', '.join(METHODS)}")
    labels = torch.tensor(binary("labels", labels, len(acts), DirectionError))
    asked = [0] * len(acts) if groups is None else groups
    group = torch.tensor(numbered("groups", asked, len(acts), DirectionError))
    places = _places(acts, places)
    separated, units, scales = [], [], []
    for place in places:
        x, prompt = acts.rows(*place)
        x, y = x.double(), labels[prompt].bool()
        # "Coincide" and the ridge below are relative to the data. A power of two rounds nothing.
        size = 2.0 ** math.frexp(x.abs().max().item())[1]
        x = x / size
        axis = METHODS[method](x, y, group[prompt])
        norm = axis.norm()
        scale = (x @ (axis / norm)).std(correction=0)
        if norm < 1e-12 or scale < 1e-12:
            log.warning("%s: class means coincide, skipped", place_name(place))
            continue
        separated.append(place)
        units.append(axis / norm)
        scales.append(scale * size)
    if not separated:
        raise DirectionError(
            f"the class means coincide in every {'head' if acts.site == 'heads' else 'layer'} "
            "asked for"
        )
    return separated, torch.stack(units).float(), torch.stack(scales).float()


def _places(acts: Activations, places: Sequence[Place]) -> list[Place]:
    """Places as tuples of ints; `DirectionError` for one not captured, or there twice."""
    checked = []
    sizes = acts.shards[0].shape[3:-1]
    for place in listed("heads" if sizes else "layers", places, DirectionError):
        layer, *head = listed("a place", place, DirectionError)
        layer = whole("layer", layer, error=DirectionError)
        if layer not in acts.layers or len(head) != len(sizes):
            raise DirectionError(f"{place}: captured are the layers {list(acts.layers)}")
        within = zip(head, sizes, strict=True)
        checked.append((layer, *(whole("head", h, 0, n - 1, DirectionError) for h, n in within)))
    return different("places", checked, DirectionError)
