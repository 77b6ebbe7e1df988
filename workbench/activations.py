"""capture(): batched activation capture through nnsight."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import nnsight
import torch
from tqdm.auto import tqdm

from workbench.models import Model
from workbench.prompts import Encoded, Positions, Prompt, encode, last

log = logging.getLogger(__name__)

SITES = ("heads", "resid", "mlp")


@dataclass(frozen=True)
class Activations:
    """Captured activations and what they are.

    `values`: float32 `[prompt, position, layer, head, d_head]` for site `"heads"`, else
    `[prompt, position, layer, d_model]`. Positions are right-aligned: where a prompt had fewer
    tokens than the widest one, its first positions are NaN. `lengths`: int64 `[prompt]`, tokens
    really read. `layers`: the layer indices along the layer axis.
    """

    values: torch.Tensor
    lengths: torch.Tensor
    layers: tuple[int, ...]
    site: str
    positions: Positions
    model: str
    sizes: dict[str, int]

    @property
    def mask(self) -> torch.Tensor:
        """bool `[prompt, position]`: which positions hold a token."""
        width = self.values.shape[1]
        return torch.arange(width) >= width - self.lengths[:, None]

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(values `[row, layer, …]`, prompt index `[row]`) of all positions that hold a token."""
        mask = self.mask
        return self.values[mask], mask.nonzero()[:, 0]

    def save(self, path: str) -> None:
        """Write to a safetensors file; see `Activations.load`."""
        import json

        from safetensors.torch import save_file

        meta = {
            "layers": list(self.layers),
            "site": self.site,
            "positions": [self.positions.kind, self.positions.k],
            "model": self.model,
            "sizes": self.sizes,
        }
        tensors = {"values": self.values.contiguous(), "lengths": self.lengths}
        save_file(tensors, path, {"activations": json.dumps(meta)})

    @classmethod
    def load(cls, path: str) -> "Activations":
        """Read what `save` wrote."""
        import json

        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["activations"])
            return cls(
                values=file.get_tensor("values"),
                lengths=file.get_tensor("lengths"),
                layers=tuple(meta["layers"]),
                site=meta["site"],
                positions=Positions(*meta["positions"]),
                model=meta["model"],
                sizes=meta["sizes"],
            )


def capture(
    model: Model,
    prompts: Sequence[Prompt],
    site: str = "heads",
    positions: Positions | None = None,
    layers: Sequence[int] | None = None,
    token_budget: int | None = None,
) -> Activations:
    """Activations of every prompt at one site, as float32 on the CPU.

    site `"heads"` is the input of `o_proj` split per query head (after attention weighting,
    before the projection); `"resid"` the output of a block, before any final norm; `"mlp"` the
    output of its MLP. Prompts are grouped by length and right-padded, so that under a causal mask
    no real token ever sees a pad; the LM head is never run, nor any layer after the deepest one
    asked for. `token_budget` caps padded tokens per batch (default 512 on a CPU, 16384 on a GPU).

    Raises `ValueError` for an unknown site, a layer the model does not have or no prompts.
    """
    positions = positions or last()
    layers = tuple(range(model.n_layers)) if layers is None else tuple(layers)
    if site not in SITES:
        raise ValueError(f"unknown site {site!r}; sites are {', '.join(SITES)}")
    if not layers or not all(0 <= layer < model.n_layers for layer in layers):
        raise ValueError(f"layers {list(layers)} outside 0..{model.n_layers - 1} of {model.name}")
    if not prompts:
        raise ValueError("no prompts to capture")
    encoded = [encode(model, p) for p in prompts]
    picks = [positions.pick(e) for e in encoded]
    lengths = torch.tensor([len(p) for p in picks])
    short = int((lengths < positions.k).sum())
    if short:
        log.warning(
            "%d of %d texts have fewer than %d tokens to read; missing positions are left out",
            short,
            len(prompts),
            positions.k,
        )
    width = max(1, int(lengths.max()))
    shape = (model.n_heads, model.d_head) if site == "heads" else (model.d_model,)
    values = torch.full((len(prompts), width, len(layers), *shape), torch.nan)
    budget = token_budget or (512 if model.hf.device.type == "cpu" else 16384)
    with tqdm(total=len(prompts), desc=f"capture {site}", unit="prompt", leave=False) as progress:
        for rows in _batches(encoded, budget):
            which = [(i, p) for i, r in enumerate(rows) for p in picks[r]]
            got = _forward(model, [encoded[r].ids for r in rows], site, layers, which)
            got = got.to("cpu", torch.float32).unflatten(-1, shape)
            for row, part in zip(rows, got.split([len(picks[r]) for r in rows]), strict=True):
                if len(part):
                    values[row, -len(part) :] = part
            progress.update(len(rows))
    return Activations(values, lengths, layers, site, positions, model.name, model.sizes)


def _batches(encoded: list[Encoded], budget: int) -> Iterator[list[int]]:
    """Row indices by length, as many at a time as fit the budget once padded to the longest."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(encoded[i].ids) > budget:
            yield batch
            batch = []
        batch.append(i)
    yield batch


@torch.inference_mode()
def _forward(
    model: Model,
    ids: list[list[int]],
    site: str,
    layers: tuple[int, ...],
    which: list[tuple[int, int]],
) -> torch.Tensor:
    """One traced forward; `[len(which), layer, width]` at the (batch row, token) pairs wanted."""
    width = max(map(len, ids))
    pad = model.tokenizer.pad_token_id
    batch = torch.tensor([row + [pad] * (width - len(row)) for row in ids], device=model.hf.device)
    rows, tokens = torch.tensor(which, dtype=torch.long).reshape(-1, 2).to(batch.device).unbind(1)
    ordered = sorted(set(layers))
    with model.trace(input_ids=batch, use_cache=False) as tracer:
        taken = nnsight.save({})
        for index in ordered:
            layer = model.layers[index]
            if site == "heads":
                taken[index] = layer.attn.o_proj.input[rows, tokens]
            elif site == "mlp":
                taken[index] = layer.mlp.output[rows, tokens]
            else:
                taken[index] = layer.output[rows, tokens]
        tracer.stop()
    return torch.stack([taken[index] for index in layers], 1)
