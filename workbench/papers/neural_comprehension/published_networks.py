"""The authors' six networks from the hub: read as data, run as they are, and counted (spec §3).

`WENGSYX/CoNN_Parity`, `_Reverse`, `_Last_Letter`, `_Copy`, `_Add_Carry` and `_Sub_Carry`. Their
attention divides by √(hidden/heads), although the compiler that made them assumed √(key size): so
what it selects against leaks in. Nothing masks PAD; inputs of one length go together.
"""

import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from workbench import hub
from workbench.arguments import listed, one_of, seed_number, shown, whole
from workbench.errors import ModelError, ProgramInputError, UnsafeFileError
from workbench.models.sources import file_of
from workbench.papers.neural_comprehension.inputs import input_fault
from workbench.reading import read_object

SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
         "intermediate_size", "mlp_hidden_size", "max_position_embeddings")  # fmt: skip
MAPS = ("input_encoding_map", "output_encoding_map")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MOST = 2**26
"""Bytes of a file; the largest of the six has 8.7 MB."""


def _round(numbers: Sequence[str], carry: Callable[[int], int]) -> list[str]:
    """One round of carries (§2.3, stage B): each goes to the left, and ten of it are taken away."""
    carries = [carry(int(n)) for n in numbers]
    return [str(int(n) - 10 * gone + come)
            for n, gone, come in zip(numbers, carries, [*carries[1:], 0], strict=True)]  # fmt: skip


TRUTHS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "Parity": lambda s: [str(s.count("1") % 2)] * len(s),
    "Reverse": lambda s: list(s[::-1]),
    "Last_Letter": lambda s: [s[-1]] * len(s),
    "Copy": list,
    "Add_Carry": lambda s: _round(s, lambda n: int(n > 9)),
    "Sub_Carry": lambda s: _round(s, lambda n: -int(n < 0)),
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

    def encode(self, inputs: Sequence[str | Sequence[str]]) -> torch.Tensor:
        """Ids `[row, 1 + position]` of inputs: symbols, or text with spaces between them.

        Raises `ProgramInputError` for a symbol that it does not read (the authors drop it), BOS or
        PAD, an empty or too long input (they cut it), or inputs of different lengths.
        """
        known = [symbol for symbol in self.symbols if symbol not in ("bos", "pad")]
        inputs = listed("inputs", inputs, ProgramInputError)
        rows = [each.split() if isinstance(each, str) else each for each in inputs]
        for i, row in enumerate(rows):
            if fault := input_fault(row, known, window=self.window):
                raise ProgramInputError(f"input {i}: {fault}")
            if len(row) != len(rows[0]):
                raise ProgramInputError(f"input {i} has {len(row)} symbols; input 0 has "
                                        f"{len(rows[0])}, and all must have as many")  # fmt: skip
        return torch.tensor([[self.symbols[symbol] for symbol in ("bos", *row)] for row in rows])

    @torch.inference_mode()
    def read(self, inputs: Sequence[str | Sequence[str]]) -> list[list[str]]:
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
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(member.file_size for member in archive.infolist()))
        if size <= MOST and path.suffix == ".safetensors":
            weights = load_file(path)
        elif size <= MOST:
            weights = dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # pickle, zip and safetensors raise errors of their own
        raise UnsafeFileError(
            f"{path} is damaged, or holds more than tensors; nothing of it was run: {error!s:.200}"
        ) from error
    if size > MOST:
        raise UnsafeFileError(f"{path} has {size:,} bytes; {MOST:,} are the most")
    for name, each in weights.items():
        plain = isinstance(name, str) and isinstance(each, torch.Tensor) and each.dtype in FLOATS
        if not (plain and each.layout is torch.strided and each.is_cpu and each.isfinite().all()):
            raise ModelError(f"{path}: {name} holds what is no finite number")
    return weights


def exactness(
    network: PublishedNetwork, truth: str, lengths: Sequence[int], count: int = 100, seed: int = 0
) -> list[dict[str, Any]]:
    """How often it is right on random inputs: a row per length.

    `truth` is a name of `TRUTHS`. Each row: `length`, `right` (whole outputs) of `n`; `margin`, the
    least difference of the right logit and the best other (below 0 where it is wrong); `leaked`,
    the most attention of a query on keys that get less than half of what its first gets: none in
    ours. Raises `ValueError` for another truth, or one whose answers the network does not know.
    """
    if not isinstance(network, PublishedNetwork):
        raise ValueError(f"network={shown(network)}: it must be one of `load_published`")
    answer = TRUTHS[one_of("truth", truth, tuple(TRUTHS))]
    count, rng = whole("count", count, 1), random.Random(seed_number(seed))
    alphabet = [symbol for symbol in network.symbols if symbol not in ("bos", "pad")]
    place = {symbol: i for i, symbol in enumerate(network.outputs)}
    rows = []
    for length in listed("lengths", lengths):
        whole("length", length, 1, network.window)
        inputs = [rng.choices(alphabet, k=length) for _ in range(count)]
        answers = [answer(symbols) for symbols in inputs]
        if unknown := {each for row in answers for each in row} - set(place):
            raise ValueError(f"truth={truth!r}: the network has no output {min(unknown)!r}")
        right = torch.tensor([[place[each] for each in row] for row in answers])[..., None]
        with torch.inference_mode():
            logits, maps = network(network.encode(inputs))
        logits, maps = logits[:, 1:], torch.stack(maps)[:, :, 1:]
        leaked = maps.where(maps < maps.amax(-1, keepdim=True) / 2, 0.0).sum(-1).max().item()
        margins = logits.gather(2, right) - logits.scatter(2, right, -torch.inf).amax(2, True)
        exact = int((margins > 0).all(1).sum())
        rows.append({"length": length, "right": exact, "n": count, "margin": margins.min().item(),
                     "leaked": leaked})  # fmt: skip
    return rows
