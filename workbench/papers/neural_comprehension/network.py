"""A compiled network as a Hugging Face model: an encoder of one-hot codes, without a norm."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from workbench.errors import ProgramInputError
from workbench.papers.neural_comprehension.compiler import Compiled
from workbench.papers.neural_comprehension.language import Categorical, Index, Position
from workbench.papers.neural_comprehension.layers import BOS, ONE, ONE2, Layer, Weights


class CoNNConfig(PreTrainedConfig):
    """Sizes and meaning of a compiled network.

    `vocabulary`, `outputs`: symbols by id; BOS and PAD follow the vocabulary. `heads`, `head_dims`,
    `units`: of each layer. `window`: symbols of an input, at most. `labels`: what each dimension of
    the residual stream stands for. `certificate`: what was proved of it (`certificate.certify`).
    """

    model_type = "wb_conn"

    def __init__(
        self,
        program: str = "",
        vocabulary: Sequence[str] = (),
        outputs: Sequence[str] = (),
        window: int = 1,
        d_model: int = 3,
        heads: Sequence[int] = (),
        head_dims: Sequence[int] = (),
        units: Sequence[int] = (),
        labels: Sequence[str] = (),
        certificate: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        self.program, self.window, self.d_model = program, window, d_model
        self.vocabulary, self.outputs = list(vocabulary), list(outputs)
        self.heads, self.head_dims, self.units = list(heads), list(head_dims), list(units)
        self.labels, self.certificate = list(labels), certificate
        super().__init__(**others)

    @property
    def bos(self) -> int:
        return len(self.vocabulary)

    @property
    def pad(self) -> int:
        return len(self.vocabulary) + 1


class CoNNLayer(nn.Module):
    """x += o(softmax(q kᵀ) v), then x += down(relu(up(x)))."""

    def __init__(self, d_model: int, heads: int, head_dim: int, units: int) -> None:
        super().__init__()
        self.heads, self.units = heads, units
        if heads:
            for name in ("q", "k", "v"):
                setattr(self, name, nn.Linear(d_model, heads * head_dim, bias=False))
            self.o = nn.Linear(heads * head_dim, d_model, bias=False)
        if units:
            self.up = nn.Linear(d_model, units, bias=False)
            self.down = nn.Linear(units, d_model, bias=False)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, keep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(stream after attention, attention or None, stream after the units)."""
        attention = None
        if self.heads:
            q, k, v = (
                each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for each in (self.q, self.k, self.v)
            )
            if keep:
                attention = (q @ k.transpose(2, 3) + mask).softmax(-1)
                mixed = attention @ v
            else:
                mixed = nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
            x = x + self.o(mixed.transpose(1, 2).flatten(2))
        middle = x
        if self.units:
            x = x + self.down(self.up(x).relu())
        return middle, attention, x


class CoNNModel(PreTrainedModel):
    """A compiled network. `model(ids)`: ids `[row, 1 + position]`, BOS first, PAD behind.

    Its logits `[row, 1 + position, output]` are 1 for the value there and 0 elsewhere; all 0 where
    there is none. `hidden_states` come after every sublayer, `attentions` as of any model.

    >>> network = compile_program(parity, window=40)
    >>> network.read(["1101", "11"])
    [['1', '1', '1', '1'], ['0', '0']]
    """

    config_class = CoNNConfig
    config: CoNNConfig
    main_input_name = "input_ids"

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

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> TokenClassifierOutput:
        """As the class says; rows of PAD are what BOS is, and no keys."""
        hidden = input_ids == self.config.pad
        if attention_mask is not None:
            hidden = hidden | (attention_mask == 0)
        x = self.tokens(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = x + self.positions(places) * (~hidden)[..., None].to(x.dtype)
        least = torch.finfo(x.dtype).min
        mask = torch.zeros(hidden.shape, dtype=x.dtype, device=x.device)
        mask = mask.masked_fill(hidden, least)[:, None, None]
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

    def encode(self, inputs: Sequence[Sequence[str]]) -> torch.Tensor:
        """Ids `[row, 1 + longest]` of inputs: symbols, or text of one character each.

        Raises `ProgramInputError`, naming input and symbol, for one it does not read, an empty
        input, or one longer than the window.
        """
        config, name = self.config, self.config.program or "this network"
        ids = {symbol: i for i, symbol in enumerate(config.vocabulary)}
        longest = max(map(len, inputs), default=0)
        rows = torch.full((len(inputs), 1 + longest), config.pad)
        rows[:, 0] = config.bos
        for i, symbols in enumerate(inputs):
            if not 0 < len(symbols) <= config.window:
                raise ProgramInputError(
                    f"input {i} has {len(symbols)} symbols; {name} reads 1 to {config.window}"
                )
            for j, symbol in enumerate(symbols):
                if symbol not in ids:
                    raise ProgramInputError(
                        f"input {i}: {symbol!r} at position {j} is no symbol of {name}: it reads "
                        f"{' '.join(config.vocabulary)}"
                    )
                rows[i, 1 + j] = ids[symbol]
        return rows.to(self.device)

    @torch.inference_mode()
    def read(self, inputs: Sequence[Sequence[str]]) -> list[list[str | None]]:
        """The value at each position of each input, None for none. Raises as `encode`."""
        logits = self(self.encode(inputs)).logits[:, 1:].float()
        best = logits.max(-1)
        return [
            [
                self.config.outputs[place] if value > 0.5 else None
                for place, value in zip(places[: len(row)], values[: len(row)], strict=True)
            ]
            for row, places, values in zip(
                inputs, best.indices.tolist(), best.values.tolist(), strict=True
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


AutoConfig.register(CoNNConfig.model_type, CoNNConfig)
AutoModel.register(CoNNConfig, CoNNModel)
