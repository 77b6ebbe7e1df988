"""A compiled network as a Hugging Face model: an encoder of one-hot codes, without a norm."""

import os
from collections.abc import Sequence
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from workbench.arguments import listed, shown, whole
from workbench.errors import ModelError, ProgramInputError
from workbench.hashing import digest, tensors_digest
from workbench.papers.neural_comprehension.compiler import Compiled
from workbench.papers.neural_comprehension.configuration import NEEDED, CoNNConfig
from workbench.papers.neural_comprehension.encoder_layer import CoNNLayer, as_written
from workbench.papers.neural_comprehension.inputs import input_fault
from workbench.papers.neural_comprehension.language import (
    Categorical,
    Index,
    Position,
)
from workbench.papers.neural_comprehension.layers import BOS, ONE, ONE2, Layer, Weights

BATCH = 128
"""Inputs that are read at once, for the memory."""


class CoNNModel(PreTrainedModel):
    """A compiled network. `model(ids)`: ids `[row, 1 + position]`, BOS first, PAD behind.

    Its logits `[row, 1 + position, output]` are 1 for the value there and 0 elsewhere; all 0 where
    there is none. `hidden_states` come after every sublayer, `attentions` as of any model. In a
    dtype or on a length that its certificate does not cover it raises `UncertifiedDtypeError`,
    unless `allow_uncertified` is set.

    >>> network = compile_program(parity, window=40)
    >>> network.read(["1101", "11"])
    [['1', '1', '1', '1'], ['0', '0']]
    """

    config_class = CoNNConfig
    config: CoNNConfig
    main_input_name = "input_ids"
    allow_uncertified = False

    def __init__(self, config: CoNNConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.pad + 1, config.d_model)
        self.positions = nn.Embedding(config.window + 1, config.d_model)
        sizes = zip(config.heads, config.head_dims, config.units, strict=True)
        self.layers = nn.ModuleList(CoNNLayer(config.d_model, *size) for size in sizes)
        self.unembed = nn.Linear(config.d_model, len(config.outputs), bias=False)
        self.post_init()
        self.requires_grad_(False)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the weights come from a program."""

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike, *arguments: Any, **options: Any) -> Any:
        """A saved network, in float32 unless `dtype` says otherwise; options as transformers'.

        Raises `ModelError` for a config or weights that are damaged, lacking or do not fit each
        other, and for those that its certificate is not of; `ValueError` for another dtype.
        """
        dtype = options.pop("dtype", None) or options.pop("torch_dtype", None) or "auto"
        dtype = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
        if dtype != "auto" and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype={shown(dtype)}: it must be one of floating point, or 'auto'")
        report_too = options.pop("output_loading_info", False)
        try:
            model, report = super().from_pretrained(
                source, *arguments, dtype=torch.float32, output_loading_info=True, **options
            )
            proved = (model.config.certificate or {}).get("weights")
            for each in (model.config.certificate or {}).get("dtypes", {}).values():
                whole("max_len", each["max_len"], 0)
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError, KeyError,
                SafetensorError, UnpicklingError) as error:  # fmt: skip
            raise ModelError(f"{source}: no compiled network can be loaded: {error}") from error
        if missing := sorted(report["missing_keys"]):
            raise ModelError(f"{source}: {len(missing)} weights are missing ({missing[0]}, …)")
        if model.config.certificate is not None and proved != model.digest():
            raise ModelError(
                f"{source}: its weights or config.json are not those of its certificate: they were "
                "changed. Bring the files again, or remove the certificate and certify anew"
            )
        model.requires_grad_(False)
        if dtype != "auto":
            model = model.to(dtype)
        return (model, report) if report_too else model

    def digest(self) -> str:
        """16 hex digits of the weights, as float32, and of what the config makes of them."""
        weights = tensors_digest({name: w.float() for name, w in self.state_dict().items()})
        return digest([weights, *(getattr(self.config, name) for name in ("program", *NEEDED))])

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> TokenClassifierOutput:
        """As the class says; rows of PAD are what BOS is, and no keys.

        Raises `ProgramInputError` for ids that are not BOS, symbols, then PAD.
        """
        hidden = input_ids == self.config.pad
        if attention_mask is not None:
            hidden = hidden | (attention_mask == 0)
        self._require(input_ids, hidden)
        with as_written(input_ids.device.type):
            return self._computed(input_ids, hidden, output_attentions, output_hidden_states)

    def _require(self, ids: torch.Tensor, hidden: torch.Tensor) -> None:
        bos, pad, window = self.config.bos, self.config.pad, self.config.window
        if ids.ndim != 2 or not 1 <= ids.shape[1] <= window + 1:
            raise ProgramInputError(
                f"ids of shape {list(ids.shape)}: they are [row, 1 + position], and "
                f"{self.config.program or 'this network'} reads {window} symbols at most"
            )
        body, bad = ids[:, 1:], (ids < 0) | (ids > pad)
        bad[:, :1] |= ids[:, :1] != bos
        bad[:, 1:] |= (body == bos) | (hidden[:, :-1] & ~hidden[:, 1:])
        if bad.any():
            row, place = bad.nonzero()[0].tolist()
            raise ProgramInputError(
                f"ids, row {row}: {int(ids[row, place])} at place {place}. A row is BOS ({bos}), "
                f"symbols (0 to {bos - 1}), then only PAD ({pad})"
            )
        if not self.allow_uncertified:
            dtypes = {weight.dtype for weight in self.parameters()}
            self.config.require_certified(dtypes, ids.shape[1] - 1)

    def _computed(
        self, input_ids: torch.Tensor, hidden: torch.Tensor, maps_too: bool, streams_too: bool
    ) -> TokenClassifierOutput:
        x = self.tokens(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = x + self.positions(places) * (~hidden)[..., None].to(x.dtype)
        least = torch.finfo(x.dtype).min
        mask = torch.zeros(hidden.shape, dtype=x.dtype, device=x.device)
        mask = mask.masked_fill(hidden, least)[:, None, None]
        streams, maps = [x], []
        for layer in self.layers:
            middle, attention, x = layer(x, mask, maps_too)
            streams += [middle, x]
            maps.append(attention)
        return TokenClassifierOutput(
            logits=self.unembed(x),
            hidden_states=tuple(streams) if streams_too else None,
            attentions=tuple(maps) if maps_too else None,
        )

    def fault(self, symbols: Sequence[str]) -> str:
        """Why symbols are no input of this network; empty where they are one."""
        config = self.config
        if len(symbols) > config.window:
            return f"{len(symbols)} symbols; it reads {config.window} at most"
        return input_fault(symbols, config.vocabulary, config.between, config.end)

    def encode(self, inputs: Sequence[Sequence[str]]) -> torch.Tensor:
        """Ids `[row, 1 + longest]` of inputs: symbols, or text of one character each.

        Raises `ProgramInputError`, naming the input and what is wrong, for what the program does
        not read, and for more symbols than the window.
        """
        config, inputs = self.config, listed("inputs", inputs, ProgramInputError, empty=True)
        ids = {symbol: i for i, symbol in enumerate(config.vocabulary)}
        longest = max(map(len, inputs), default=0)
        rows = torch.full((len(inputs), 1 + longest), config.pad)
        rows[:, 0] = config.bos
        for i, symbols in enumerate(inputs):
            if fault := self.fault(symbols):
                raise ProgramInputError(f"{config.program or 'program'}, input {i}: {fault}")
            rows[i, 1 : 1 + len(symbols)] = torch.tensor([ids[symbol] for symbol in symbols])
        return rows.to(self.device)

    @torch.inference_mode()
    def read(self, inputs: Sequence[Sequence[str]]) -> list[list[str | None]]:
        """The value at each position of each input, None for none. Raises as `encode`."""
        ids, rows = self.encode(inputs), []
        with as_written(self.device.type):
            for start in range(0, len(ids), BATCH):
                lengths = [len(symbols) for symbols in inputs[start : start + BATCH]]
                rows += self.decode(self(ids[start : start + BATCH]).logits, lengths)
        return rows

    def decode(self, logits: torch.Tensor, lengths: Sequence[int]) -> list[list[str | None]]:
        """The values in logits `[row, 1 + position, output]` of inputs of such lengths."""
        best = logits[:, 1:].float().max(-1)
        return [
            [
                self.config.outputs[place] if value > 0.5 else None
                for place, value in zip(places[:length], values[:length], strict=True)
            ]
            for length, places, values in zip(
                lengths, best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]


def compile_program(program: Categorical, window: int, name: str = "") -> CoNNModel:
    """The network of a program for inputs of at most `window` symbols, in float32.

    Raises `CompileBudgetError` and `ProgramInputError` as `compiler.Compiled`.
    """
    return network_of(Compiled(program, window), name)


def network_of(compiled: Compiled, name: str = "") -> CoNNModel:
    """A compiled program's sparse weights as a model."""
    layers = [compiled.layers[i] for i in range(compiled.n_layers)]
    outputs = compiled.domain[compiled.program]
    config = CoNNConfig(
        program=name,
        vocabulary=compiled.token.vocabulary,
        between=compiled.token.between,
        end=compiled.token.end,
        outputs=[str(value) for value in outputs],
        window=compiled.window,
        d_model=len(compiled.labels),
        heads=[len(layer.heads) for layer in layers],
        head_dims=[max((head.width for head in layer.heads), default=0) for layer in layers],
        units=[len(layer.units) for layer in layers],
        labels=[_label(node, value) for node, value in compiled.labels],
    )
    model = CoNNModel(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        _embed(model, compiled)
        for module, layer in zip(model.layers, layers, strict=True):
            _write(module, layer)
        for i, value in enumerate(outputs):
            model.unembed.weight[i, compiled.of[compiled.program][value]] = 1
    return model


def _label(node: Any, value: Any) -> str:
    if node is None:
        return str(value)
    name = node.name or type(node).__name__.lower()
    return name if value is None else f"{name}={value}"


def _embed(model: CoNNModel, compiled: Compiled) -> None:
    tokens, positions = model.tokens.weight, model.positions.weight
    tokens[:, [ONE, ONE2]] = 1
    tokens[[model.config.bos, model.config.pad], BOS] = 1
    for i, dim in enumerate(compiled.of[compiled.token].values()):
        tokens[i, dim] = 1
    for node, dims in compiled.of.items():
        for i in range(compiled.window):
            if isinstance(node, Index):
                positions[1 + i, dims[i]] = 1
            elif isinstance(node, Position):
                positions[1 + i, dims[None]] = i


def _write(module: CoNNLayer, layer: Layer) -> None:
    width = module.o.in_features // module.heads if module.heads else 0
    for h, head in enumerate(layer.heads):
        for linear, rows in ((module.q, head.q), (module.k, head.k), (module.v, head.v)):
            for c, weights in enumerate(rows):
                _fill(linear.weight[h * width + c], weights)
        for dim, c in head.o.items():
            module.o.weight[dim, h * width + c] = 1
    for u, unit in enumerate(layer.units):
        _fill(module.up.weight[u], unit.reads)
        _fill(module.down.weight[:, u], unit.writes)


def _fill(row: torch.Tensor, weights: Weights) -> None:
    if weights:
        row[torch.tensor(list(weights))] = torch.tensor(list(weights.values()), dtype=row.dtype)


AutoConfig.register(CoNNConfig.model_type, CoNNConfig, exist_ok=True)
AutoModel.register(CoNNConfig, CoNNModel, exist_ok=True)
