"""capture(): batched activation capture through nnsight, in memory or streamed to disk."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from workbench.activations import shards
from workbench.activations.forwards import read_site
from workbench.arguments import indices, listed, shown, whole
from workbench.errors import DatasetError, ShardError
from workbench.hashing import digest, pieces_digest
from workbench.models.forward_state import libraries
from workbench.models.limits import Budget
from workbench.models.model import Model
from workbench.models.prompts import Positions, Prompt, encode_all, last

log = logging.getLogger(__name__)

SITES = ("heads", "resid", "mlp")
"""Where activations are read; see `capture`."""
FORMAT = "workbench.activations.1"


@dataclass(frozen=True)
class Activations:
    """Captured activations and what they are.

    >>> acts = wb.capture(model, chats, "heads", wb.last(5))
    >>> rows, prompt = acts.rows(layer=2, head=5)

    `shards`: consecutive groups of prompts, each `[prompt, position, layer, head, d_head]` for site
    `"heads"`, else `[prompt, position, layer, d_model]`; one in memory, or memory-mapped files.
    Positions are right-aligned: where a prompt had fewer tokens than the widest one, its first
    positions are NaN. `lengths`: int64 `[prompt]`, tokens really read. `layers`: the layer indices
    along the layer axis. `libraries`: versions that computed them, by name; empty where unknown.
    """

    shards: tuple[torch.Tensor, ...]
    lengths: torch.Tensor
    layers: tuple[int, ...]
    site: str
    positions: Positions
    model: str
    sizes: dict[str, int]
    libraries: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Prompts."""
        return len(self.lengths)

    @property
    def values(self) -> torch.Tensor:
        """All shards as one tensor. Where there are several this reads them all into memory."""
        return self.shards[0] if len(self.shards) == 1 else torch.cat(self.shards)

    @property
    def mask(self) -> torch.Tensor:
        """bool `[prompt, position]`: which positions hold a token."""
        width = self.shards[0].shape[1]
        return torch.arange(width) >= width - self.lengths[:, None]

    def rows(
        self, layer: int | None = None, head: int | slice | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(values `[row, …]`, prompt index `[row]`) of all positions that hold a token.

        With `layer` (and `head`, or a slice of heads) only these are read, from disk too. No copy
        is made in memory where every prompt has all positions. Raises `ValueError` for a layer that
        was not captured, or a head that there is not.
        """
        if layer is not None and whole("layer", layer) not in self.layers:
            raise ValueError(f"layer={layer} was not captured; captured are {list(self.layers)}")
        if head is not None and layer is None:
            raise ValueError(f"head={head} of which layer? Give layer=…, too")
        if head is not None and self.site != "heads":
            raise ValueError(f"head={head}: activations of site {self.site!r} have no heads")
        if head is not None and not isinstance(head, slice):
            head = whole("head", head, 0, self.shards[0].shape[3] - 1)
        mask = self.mask
        parts = []
        masks = mask.split([len(shard) for shard in self.shards])
        for shard, shard_mask in zip(self.shards, masks, strict=True):
            part = shard if layer is None else shard[:, :, self.layers.index(layer)]
            part = part if head is None else part[:, :, head]
            parts.append(part.flatten(0, 1) if shard_mask.all() else part[shard_mask])
        return parts[0] if len(parts) == 1 else torch.cat(parts), mask.nonzero()[:, 0]

    def save(self, folder: str | Path) -> None:
        """Write to a folder; see `Activations.load`. `ShardError` as for a streamed capture."""
        cuts = [0, *accumulate(len(s) for s in self.shards)]

        def content() -> Iterator[Any]:
            yield json.dumps(self.description()).encode()
            yield from map(shards.bytes_of, self.shards)

        key = pieces_digest(content())
        index = {**self.description(), "key": key, "ranges": list(pairwise(cuts))}
        expected = sum(s.numel() * s.element_size() for s in self.shards)
        with shards.writing(folder, index, expected) as writer:
            for i, (start, stop) in enumerate(pairwise(cuts)):
                if not writer.has(i):
                    writer.write(i, self.shards[i].contiguous(), self.lengths[start:stop])

    @classmethod
    def load(cls, folder: str | Path) -> "Activations":
        """Memory-map what `save` or `capture(..., out=folder)` wrote; checksums are verified.

        Raises `ShardError` for a folder that holds no finished capture, or a damaged shard.
        """
        index, values, lengths = shards.read_all(folder)
        if index.get("format") != FORMAT:
            raise ShardError(f"{folder} has format {index.get('format')!r}, not {FORMAT!r}")
        try:
            return cls(
                shards=tuple(values),
                lengths=lengths,
                layers=tuple(index["layers"]),
                site=index["site"],
                positions=Positions(*index["positions"]),
                model=index["model"],
                sizes=index["sizes"],
                libraries=index.get("libraries", {}),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise ShardError(
                f"{folder}: its index lacks what a capture writes: {error!r}"
            ) from error

    def description(self) -> dict[str, Any]:
        """All but the tensors, JSON-serialisable."""
        return {
            "format": FORMAT,
            "model": self.model,
            "sizes": self.sizes,
            "site": self.site,
            "positions": [self.positions.kind, self.positions.k],
            "layers": list(self.layers),
            "libraries": self.libraries,
        }


def capture(
    model: Model,
    prompts: Sequence[Prompt],
    site: str = "heads",
    positions: Positions | None = None,
    layers: Sequence[int] | None = None,
    *,
    out: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    token_budget: int | None = None,
    shard_bytes: int = 128 * 2**20,
) -> Activations:
    """Activations of every prompt at one site, on the CPU or streamed to the folder `out`.

    >>> acts = wb.capture(model, chats, "resid", wb.response(), layers=[8, 12])
    >>> big = wb.capture(model, chats, "heads", out="acts", dtype=torch.bfloat16)

    `site`: `"heads"` is the input of `o_proj` split per query head (after attention weighting,
    before the projection); `"resid"` the output of a block, before any final norm; `"mlp"` the
    output of its MLP, which the block adds to the stream as it is, or (Gemma 2 and 3, OLMo 2,
    OPT-350m) through a norm: read is what goes into that norm. `positions`: `last()` by default.
    `layers`: all by default.

    Prompts are grouped by length and right-padded, so that under a causal mask no real token ever
    sees a pad; the LM head is never run, nor any layer after the deepest one asked for (save once,
    for the tokens that all prompts begin with). Values do not depend on batches or padding beyond
    rounding: 2e-5 in float32, 3 % of the largest value in bfloat16.

    `token_budget` caps padded tokens per batch; by default 512 on a CPU, on a GPU 16384 or what its
    free memory holds; halved when memory runs out. With `out`, shards of about `shard_bytes` are
    written as they are done and read back memory-mapped; called again with the same arguments (also
    after a kill) it goes on from the last whole shard. `dtype` of the stored values: bfloat16
    halves disk and loses nothing of a bfloat16 model.

    A folder that another version of torch or transformers filled is refused: forwards change.

    Raises `ModelError` for a site that the model was found not to have when it was loaded, or one
    with hooks of your own captured to `out`; `ValueError` for an unknown site, a layer the model
    does not have or no prompts; `DatasetError` for an unusable prompt, or an empty reply, of which
    there is nothing to read; `ShardError` where `out` cannot be written or holds something else;
    `FloatingPointError` for an activation that is not finite; `MemoryError` for a prompt that does
    not fit alone.
    """
    positions = last() if positions is None else positions
    if site not in SITES:
        raise ValueError(f"unknown site {site!r}; sites are {', '.join(SITES)}")
    model.require_site(site)
    asked = range(model.n_layers) if layers is None else layers
    layers = tuple(indices("layers", asked, model.n_layers))
    prompts = listed("prompts", prompts)
    if not isinstance(positions, Positions):
        raise ValueError(
            f"positions={shown(positions)}: give wb.last(k), wb.response() or wb.all_tokens()"
        )
    shard_bytes = whole("shard_bytes", shard_bytes, 1)
    if token_budget is not None:
        token_budget = whole("token_budget", token_budget, 1)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype}: activations are floating-point numbers")
    encoded = encode_all(model, prompts)
    for i, prompt in enumerate(encoded):
        if prompt.replies and prompt.start == len(prompt.ids) and positions.kind != "all":
            raise DatasetError(
                f"prompt {i} ends in a reply without a token, of which there is nothing to read: "
                "leave it out, or end the chat before it"
            )
    picks = [positions.pick(e) for e in encoded]
    lengths = torch.tensor([len(p) for p in picks])
    if not lengths.any():
        raise ValueError(
            "no prompt has a token to read: response() needs chats that end in a reply"
        )
    least = max(positions.k, 1)
    short = int((lengths < least).sum())
    if short:
        log.warning(
            "%d of %d texts have fewer than %d tokens to read; missing positions are left out",
            short, len(prompts), least,
        )  # fmt: skip
    empty = Activations((), lengths, layers, site, positions, model.name, model.sizes, libraries())
    width = (model.n_heads, model.d_head) if site == "heads" else (model.d_model,)
    shape = (max(1, int(lengths.max())), len(layers), *width)
    budget = Budget.of(model) if token_budget is None else Budget(token_budget)

    def fill(start: int, stop: int) -> torch.Tensor:
        values = torch.full((stop - start, *shape), torch.nan, dtype=dtype)
        rows = range(start, stop)
        for batch, tokens in read_site(model, encoded, picks, site, layers, rows, budget):
            tokens = tokens.to(dtype).unflatten(-1, width)
            counts = [len(picks[i]) for i in batch]
            _require_finite(tokens, batch, counts, empty)
            for i, of_prompt in zip(batch, tokens.split(counts), strict=True):
                if len(of_prompt):
                    values[i - start, -len(of_prompt) :] = of_prompt
            progress.update(len(batch))
        return values

    bar = {"desc": f"capture {site}", "unit": "prompt", "leave": False, "delay": 1}
    with tqdm(total=len(prompts), **bar) as progress:
        if out is None:
            return replace(empty, shards=(fill(0, len(prompts)),))
        row_bytes = math.prod(shape) * dtype.itemsize
        step = max(1, shard_bytes // row_bytes)
        cuts = [*range(0, len(prompts), step), len(prompts)]
        content = [model.fingerprint(), empty.description(), str(dtype), step]
        content += [[e.ids, e.start] for e in encoded]
        key = digest(json.dumps(content), 64)
        index = {**empty.description(), "key": key, "ranges": list(pairwise(cuts))}
        with shards.writing(out, index, row_bytes * len(prompts)) as writer:
            for i, (start, stop) in enumerate(pairwise(cuts)):
                if writer.has(i):
                    progress.update(stop - start)
                else:
                    writer.write(i, fill(start, stop), lengths[start:stop])
    return Activations.load(out)


def _require_finite(
    tokens: torch.Tensor, batch: list[int], counts: list[int], acts: Activations
) -> None:
    """Raise `FloatingPointError` with the first prompt, layer and head that is NaN or infinite."""
    finite = torch.isfinite(tokens)
    if finite.all():
        return
    token, layer, *rest = (~finite).nonzero()[0].tolist()
    prompt = next(i for i, end in zip(batch, accumulate(counts), strict=True) if token < end)
    head = f" head {rest[0]}" if acts.site == "heads" else ""
    raise FloatingPointError(
        f"prompt {prompt}, layer {acts.layers[layer]}{head}: the activation is NaN or infinite. "
        f"Check the weights of {acts.model}, or load it in bfloat16 or float32 instead of float16."
    )
