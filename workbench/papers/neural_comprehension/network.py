"""A compiled network as a Hugging Face model: an encoder of one-hot codes, without a norm."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from workbench import hub
from workbench.arguments import listed, whole
from workbench.errors import ModelError, ProgramInputError
from workbench.hashing import digest, tensors_digest
from workbench.papers.neural_comprehension.compiler import Compiled
from workbench.papers.neural_comprehension.configuration import NEEDED, CoNNConfig, float_dtype
from workbench.papers.neural_comprehension.encoder_layer import CoNNLayer, as_written
from workbench.papers.neural_comprehension.inputs import hidden_places, input_fault
from workbench.papers.neural_comprehension.language import Categorical, Index, Position, Token
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
        dtype = torch.float32 if dtype == "auto" else float_dtype(dtype)
        report_too = options.pop("output_loading_info", False)
        hub.require(str(source))
        try:
            model, report = super().from_pretrained(
                source, *arguments, dtype=torch.float32, output_loading_info=True, **options
            )
            known = {"digest": model.config.digest}
            if (certificate := model.config.certificate) is not None:
                known["certificate"], _, _ = (certificate[k] for k in ("weights", "level", "seed"))
                for each in certificate["dtypes"].values():
                    whole("max_len", each["max_len"], 0)
        except Exception as error:  # pickle, safetensors and configs raise errors of their own
            raise ModelError(
                f"{source}: no compiled network can be loaded; its config.json and weights are "
                f"damaged, or not of each other: {type(error).__name__}: {error}"
            ) from error
        if missing := sorted(report["missing_keys"]):
            raise ModelError(f"{source}: {len(missing)} weights are missing ({missing[0]}, …)")
        if others := [name for name, of in known.items() if of != model.digest()]:
            raise ModelError(
                f"{source}: its weights or config.json are not those of its {others[-1]}: they "
                "were changed. Bring the files again, or make the network anew and save it"
            )
        model = model.requires_grad_(False).to(dtype)
        return (model, report) if report_too else model

    def save_pretrained(self, *arguments: Any, **options: Any) -> None:
        """As transformers does, with a digest in the config: `from_pretrained` sees a change."""
        self.config.digest = self.digest()
        super().save_pretrained(*arguments, **options)

    def digest(self) -> str:
        """16 hex digits of the weights, as float32, and of what the config makes of them."""
        weights = tensors_digest({name: w.float() for name, w in self.state_dict().items()})
        meaning = [getattr(self.config, name) for name in ("program", "labels", *NEEDED)]
        return digest([weights, *meaning])

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> TokenClassifierOutput:
        """As the class says; rows of PAD are what BOS is, and no keys.

        Raises `ProgramInputError` as `inputs.hidden_places`.
        """
        hidden = hidden_places(self.config, input_ids, attention_mask)
        if not self.allow_uncertified:
            dtypes = {weight.dtype for weight in self.parameters()}
            self.config.require_certified(dtypes, input_ids.shape[1] - 1)
        with as_written(input_ids.device.type):
            places = torch.arange(input_ids.shape[1], device=input_ids.device)
            x = self.tokens(input_ids)
            x = x + self.positions(places) * (~hidden)[..., None].to(x.dtype)
            mask = (hidden.to(x.dtype) * torch.finfo(x.dtype).min)[:, None, None]
            streams, maps = [x], []
            for layer in self.layers:
                middle, attention, x = layer(x, mask, output_attentions)
                streams += [middle, x]
                maps.append(attention)
            return TokenClassifierOutput(
                logits=self.unembed(x),
                hidden_states=tuple(streams) if output_hidden_states else None,
                attentions=tuple(maps) if output_attentions else None,
            )

    def fault(self, symbols: Sequence[str]) -> str:
        """Why symbols are no input of this network; empty where they are one."""
        c = self.config
        return input_fault(symbols, c.vocabulary, c.between, c.end, c.window)

    def encode(self, inputs: Sequence[Sequence[str]]) -> torch.Tensor:
        """Ids `[row, 1 + longest]` of inputs: symbols, or text of one character each.

        Raises `ProgramInputError`, naming the input and what is wrong, for what the program does
        not read, and for more symbols than the window.
        """
        config, inputs = self.config, listed("inputs", inputs, ProgramInputError, empty=True)
        for i, symbols in enumerate(inputs):
            if fault := self.fault(symbols):
                raise ProgramInputError(f"{config.program or 'program'}, input {i}: {fault}")
        ids = {symbol: i for i, symbol in enumerate(config.vocabulary)}
        rows = torch.full((len(inputs), 1 + max(map(len, inputs), default=0)), config.pad)
        rows[:, 0] = config.bos
        for row, symbols in zip(rows, inputs, strict=True):
            row[1 : 1 + len(symbols)] = torch.tensor([ids[symbol] for symbol in symbols])
        return rows.to(self.device)

    @torch.inference_mode()
    def read(self, inputs: Sequence[Sequence[str]]) -> list[list[str | None]]:
        """The value at each position of each input, None for none. Raises as `encode`."""
        rows = []
        with as_written(self.device.type):
            for ids in self.encode(inputs).split(BATCH):
                lengths = (ids < self.config.bos).sum(1).tolist()
                rows += self.decode(self(ids).logits, lengths)
        return rows

    def decode(self, logits: torch.Tensor, lengths: Sequence[int]) -> list[list[str | None]]:
        """The values in logits `[row, 1 + position, output]` of inputs of such lengths."""
        best, outputs = logits[:, 1:].float().max(-1), self.config.outputs
        rows = zip(lengths, best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            [outputs[at] if value > 0.5 else None for at, value in zip(ats, values, strict=True)][
                :n
            ]
            for n, ats, values in rows
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
        vocabulary=list(compiled.token.vocabulary),
        between=list(compiled.token.between),
        end=compiled.token.end,
        outputs=[str(value) for value in outputs],
        window=compiled.window,
        d_model=len(compiled.labels),
        heads=[len(layer.heads) for layer in layers],
        head_dims=[layer.head_dim for layer in layers],
        units=[len(layer.units) for layer in layers],
        labels=[_label(node, value) for node, value in compiled.labels],
    )
    model = CoNNModel(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        tokens, positions = model.tokens.weight, model.positions.weight
        tokens[:, [ONE, ONE2]] = 1
        tokens[[config.bos, config.pad], BOS] = 1
        for node, dims in compiled.of.items():
            columns = list(dims.values())
            if isinstance(node, Token):
                tokens[: config.bos, columns] = torch.eye(config.bos)
            elif isinstance(node, Index):
                positions[1:, columns] = torch.eye(config.window)
            elif isinstance(node, Position):
                positions[1:, columns] = torch.arange(0.0, config.window)[:, None]
        for module, layer in zip(model.layers, layers, strict=True):
            _write(module, layer)
        columns = list(compiled.of[compiled.program].values())
        model.unembed.weight[:, columns] = torch.eye(len(outputs))
    return model


def _label(node: Any, value: Any) -> str:
    if node is None:
        return str(value)
    name = node.name or type(node).__name__.lower()
    return name if value is None else f"{name}={value}"


def _write(module: CoNNLayer, layer: Layer) -> None:
    for h, head in enumerate(layer.heads):
        own = slice(h * layer.head_dim, (h + 1) * layer.head_dim)
        for linear, rows in ((module.q, head.q), (module.k, head.k), (module.v, head.v)):
            _fill(linear.weight[own], rows)
        module.o.weight[list(head.o), [own.start + c for c in head.o.values()]] = 1
    if layer.units:
        _fill(module.up.weight, [unit.reads for unit in layer.units])
        _fill(module.down.weight.T, [unit.writes for unit in layer.units])


def _fill(matrix: torch.Tensor, rows: Sequence[Weights]) -> None:
    places = [(row, dim) for row, weights in enumerate(rows) for dim in weights]
    numbers = [number for weights in rows for number in weights.values()]
    at = torch.tensor(places, dtype=torch.long).reshape(-1, 2)
    matrix[at[:, 0], at[:, 1]] = torch.tensor(numbers, dtype=matrix.dtype)


AutoConfig.register(CoNNConfig.model_type, CoNNConfig, exist_ok=True)
AutoModel.register(CoNNConfig, CoNNModel, exist_ok=True)
