"""The authors' six networks from the hub: read as data, run as they are, and counted (spec §3).

`WENGSYX/CoNN_Parity`, `_Reverse`, `_Last_Letter`, `_Copy`, `_Add_Carry` and `_Sub_Carry`. Their
attention divides by √(hidden/heads), although the compiler that made them assumed √(key size): so
what it selects against leaks in. Nothing masks PAD; inputs of one length go together.
"""

import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from workbench import hub
from workbench.arguments import listed, one_of, seed_number, whole
from workbench.errors import ModelError, ProgramInputError, UnsafeFileError
from workbench.models.sources import file_of
from workbench.reading import read_object

SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
         "intermediate_size", "mlp_hidden_size", "max_position_embeddings")  # fmt: skip
MAPS = ("input_encoding_map", "output_encoding_map")
MOST = 2**26
"""Bytes of a file; the largest of the six has 8.7 MB."""


def _carried(sums: Sequence[str]) -> list[str]:
    """One round of carries (§2.3, stage B)."""
    over = [int(s) > 9 for s in sums]
    return [str(int(s) - 10 * o + right)
            for s, o, right in zip(sums, over, [*over[1:], False], strict=True)]  # fmt: skip


def _borrowed(gaps: Sequence[str]) -> list[str]:
    under = [int(g) < 0 for g in gaps]
    return [str(int(g) + 10 * u - right)
            for g, u, right in zip(gaps, under, [*under[1:], False], strict=True)]  # fmt: skip


TRUTHS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "Parity": lambda s: [str(s.count("1") % 2)] * len(s),
    "Reverse": lambda s: list(s[::-1]),
    "Last_Letter": lambda s: [s[-1]] * len(s),
    "Copy": list,
    "Add_Carry": _carried,
    "Sub_Carry": _borrowed,
}
"""What each should answer, by the end of its name."""


class PublishedNetwork(nn.Module):
    """One of them: `network(ids)` of ids `[row, 1 + position]`, BOS first."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        vocabulary, d, layers, _, key, units, places = (config[name] for name in SIZES)
        self.symbols: dict[str, int] = config["input_encoding_map"]
        self.outputs = sorted(config["output_encoding_map"], key=config["output_encoding_map"].get)
        self.window, self.scale = places - 1, d**-0.5
        sizes = {"word_embeddings": vocabulary, "position_embeddings": places}
        self.embeddings = nn.ModuleDict({name: nn.Embedding(n, d) for name, n in sizes.items()})
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(
            nn.ModuleDict({
                "self_attn": nn.ModuleDict(
                    {f"{name}_proj": nn.Linear(d, key) for name in ("query", "key", "value")}
                    | {"out_proj": nn.Linear(key, d)}
                ),
                "linear1": nn.Linear(d, units),
                "linear2": nn.Linear(units, d),
            })
            for _ in range(layers)
        )})  # fmt: skip
        self.unembedding = nn.Parameter(torch.empty(d, len(self.outputs)))

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits `[row, 1 + position, output]`, and each layer's attention `[row, query, key]`."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.embeddings["word_embeddings"](ids) + self.embeddings["position_embeddings"](places)
        maps = []
        for layer in self.transformer["layers"]:
            side = layer["self_attn"]
            q, k, v = (side[f"{name}_proj"](x) for name in ("query", "key", "value"))
            maps.append((q @ k.transpose(1, 2) * self.scale).softmax(-1))
            x = x + side["out_proj"](maps[-1] @ v)
            x = x + layer["linear2"](layer["linear1"](x).relu())
        return x @ self.unembedding, maps

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        """Ids `[row, 1 + position]` of texts of as many symbols, with spaces between.

        Raises `ProgramInputError` for a symbol that it does not read (the authors drop it), BOS or
        PAD, an empty or too long text (they cut it), or texts of different lengths.
        """
        known = " ".join(symbol for symbol in self.symbols if symbol not in ("bos", "pad"))
        rows = []
        for i, text in enumerate(listed("inputs", inputs, ProgramInputError)):
            symbols = text.split()
            if not 0 < len(symbols) <= self.window or len(symbols) != len(inputs[0].split()):
                raise ProgramInputError(f"input {i} has {len(symbols)} symbols; they are 1 to "
                                        f"{self.window}, and as many in each input")  # fmt: skip
            for place, symbol in enumerate(symbols):
                if symbol not in known.split():
                    raise ProgramInputError(f"input {i}: {symbol!r} at position {place} is no "
                                            f"symbol of it: it reads {known}")  # fmt: skip
            rows.append([self.symbols[symbol] for symbol in ("bos", *symbols)])
        return torch.tensor(rows)

    @torch.inference_mode()
    def read(self, inputs: Sequence[str]) -> list[list[str]]:
        """The output at each position, by the largest logit. Raises as `encode`."""
        best = self(self.encode(inputs))[0][:, 1:].argmax(-1)
        return [[self.outputs[place] for place in row] for row in best.tolist()]


def load_published(source: str | Path) -> PublishedNetwork:
    """A network in the authors' format: a folder, or a repository of the hub.

    Raises `ModelError` for one that cannot be reached, lacks a key or a weight, or whose shapes are
    not its config's; `UnsafeFileError` for a pickle that holds more than tensors.
    """
    source = str(source)
    hub.require(source)
    if (path := file_of(source, "config.json")) is None:
        raise ModelError(f"{source} holds no config.json")
    config = read_object(path, ModelError)
    if lacking := [name for name in (*SIZES, *MAPS) if name not in config]:
        raise ModelError(f"{path} lacks {', '.join(lacking)}")
    for name in SIZES:
        most = 64 if name == "num_hidden_layers" else 2**13
        whole(f"{path}: {name}", config[name], 1, most, ModelError)
    if config["num_attention_heads"] != 1 or config.get("layer_norm"):
        raise ModelError(f"{path}: these networks have one head a layer and no layer norm")
    for name, size in zip(MAPS, (config["vocab_size"], None), strict=True):
        ids = config[name]
        if not isinstance(ids, dict) or sorted(map(repr, ids.values())) != sorted(
            map(repr, range(size or len(ids)))
        ):
            raise ModelError(f"{path}: {name} must give each symbol one of the ids from 0 on")
    if not {"bos", "pad"} <= set(config["input_encoding_map"]):
        raise ModelError(f"{path}: input_encoding_map has no bos or pad")
    weights = _weights(source)
    for name, each in weights.items():
        plain = each.is_floating_point() and each.layout is torch.strided and each.is_cpu
        if not plain or not each.isfinite().all():
            raise ModelError(f"{source}: {name} holds what is no finite number")
    with torch.device("meta"):
        network = PublishedNetwork(config)
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{source}: weights and config.json do not fit: {error!s:.400}") from error
    return network.float().requires_grad_(False)


def _weights(source: str) -> dict[str, torch.Tensor]:
    path = file_of(source, "model.safetensors") or file_of(source, "pytorch_model.bin")
    if path is None:
        raise ModelError(f"{source} holds neither model.safetensors nor pytorch_model.bin")
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(member.file_size for member in archive.infolist()))
        if size > MOST:
            raise UnsafeFileError(f"{path} has {size:,} bytes; {MOST:,} are the most")
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UnsafeFileError(
            f"{path} is damaged, or holds more than tensors; nothing of it was run: {error!s:.200}"
        ) from error
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, AttributeError,
            EOFError, LookupError, zipfile.BadZipFile) as error:  # fmt: skip
        raise ModelError(f"{path} is damaged: {error!s:.200}") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(each, torch.Tensor) for name, each in weights.items()
    ):
        raise UnsafeFileError(f"{path} holds more than a dict of tensors")
    return weights


def exactness(
    network: PublishedNetwork, truth: str, lengths: Sequence[int], count: int = 100, seed: int = 0
) -> list[dict[str, Any]]:
    """How often it is right on random inputs: a row per length.

    `truth` is a name of `TRUTHS`. Each row: `length`, `right` (whole outputs) of `n`, and `margin`,
    the least difference of the right logit and the best other (below 0 where it is wrong).
    Raises `ValueError` for another truth, or one whose answers the network does not know.
    """
    answer = TRUTHS[one_of("truth", truth, tuple(TRUTHS))]
    count, rng = whole("count", count, 1), random.Random(seed_number(seed))
    alphabet = [symbol for symbol in network.symbols if symbol not in ("bos", "pad")]
    rows = []
    for length in listed("lengths", lengths):
        whole("length", length, 1, network.window)
        inputs = [rng.choices(alphabet, k=length) for _ in range(count)]
        place = {symbol: i for i, symbol in enumerate(network.outputs)}
        answers = [answer(symbols) for symbols in inputs]
        if unknown := {each for row in answers for each in row} - set(place):
            raise ValueError(f"truth={truth!r}: the network has no output {min(unknown)!r}")
        right = torch.tensor([[place[each] for each in row] for row in answers])
        with torch.inference_mode():
            logits = network(network.encode([" ".join(each) for each in inputs]))[0][:, 1:]
        wanted = logits.gather(2, right[..., None])[..., 0]
        margin = wanted - logits.scatter(2, right[..., None], -torch.inf).amax(-1)
        exact = int((margin > 0).all(1).sum())
        rows.append({"length": length, "right": exact, "n": count, "margin": float(margin.min())})
    return rows
