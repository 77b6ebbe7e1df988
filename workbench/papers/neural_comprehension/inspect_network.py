"""What a compiled network holds while it reads an input, in its program's words (spec §9.7).

The residual stream is decoded into the values of the program's variables, each attention map lies
beside what the reference predicts, and a variable can be patched to see what follows from it.
"""

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from workbench.arguments import one_of, shown, whole
from workbench.papers.neural_comprehension.compiler import Compiled
from workbench.papers.neural_comprehension.configuration import float_dtype
from workbench.papers.neural_comprehension.language import (
    Categorical,
    Count,
    Index,
    Node,
    Position,
    Select,
    Token,
    nodes_of,
)
from workbench.papers.neural_comprehension.network import CoNNModel, network_of
from workbench.papers.neural_comprehension.reference import trace


@dataclass(frozen=True)
class Inspected:
    """A program's sparse weights, its network, and its variables by name, as they are written.

    A variable is a node with dimensions of the residual stream; the last one is the program.
    `steps`: the sublayers after which the stream can be looked at.
    """

    compiled: Compiled
    network: CoNNModel
    variables: dict[str, Node]

    @property
    def steps(self) -> list[str]:
        layers = range(self.compiled.n_layers)
        return ["embedding", *(f"layer {i} {part}" for i in layers for part in ("heads", "units"))]


@dataclass(frozen=True)
class Run:
    """An input read by a network: float `streams` `[step, 1 + position, d_model]`, BOS first.

    `attentions`: per layer `[head, query, 1 + key]`, None without heads. `logits`: `[1 + position,
    output]`. `meant`: by the reference, every node's values, and of every selector the positions
    that it selects.
    """

    inspected: Inspected
    symbols: tuple[str, ...]
    streams: torch.Tensor
    attentions: tuple[torch.Tensor | None, ...]
    logits: torch.Tensor
    meant: dict[Node, list[Any]]


def inspected(program: Categorical, window: int, name: str = "") -> Inspected:
    """A program compiled at a window, to be looked into. Raises as `compiler.Compiled`."""
    compiled = Compiled(program, window)
    variables: dict[str, Node] = {}
    nodes = [node for node in nodes_of(program) if node in compiled.of]
    for node in sorted(nodes, key=compiled.depth.__getitem__):
        plain = node.name or type(node).__name__.lower()
        others = (f"{plain} {number}" for number in itertools.count(2))
        variables[next(n for n in itertools.chain([plain], others) if n not in variables)] = node
    return Inspected(compiled, network_of(compiled, name), variables)


def listing(inspected: Inspected) -> list[dict[str, str]]:
    """The program, a row per variable: what it is of which others, and where it lies."""
    compiled, rows = inspected.compiled, []
    names = {node: name for name, node in inspected.variables.items()}

    def sources(node: Node) -> list[str]:
        seen, waiting = dict[Node, None](), [node]
        while waiting:  # what is not written is a sum of others, as deep as it may be
            inputs = [each for each in waiting.pop().inputs if each not in seen]
            seen |= dict.fromkeys(inputs)
            waiting += [each for each in reversed(inputs) if each not in names]
        return [names[each] for each in seen if each in names]

    for name, node in inspected.variables.items():
        depth, values = compiled.depth[node], compiled.domain[node]
        layer = compiled.layers[(depth - 1) // 2]
        heads, units = (
            [i for i, part in enumerate(parts if depth else ()) if part.node is node]
            for parts in (layer.heads, layer.units)
        )
        rows.append({
            "variable": name,
            "is": f"{type(node).__name__}({', '.join(sources(node))})",
            "line": node.where,
            "written by": inspected.steps[depth],
            "heads": _slice(heads),
            "units": _slice(units),
            "dimensions": _slice(list(compiled.of[node].values())),
            "values": f"{values[0]} to {values[1]}" if None in compiled.of[node]
            else " ".join(map(str, values[:5])) + " …" * (len(values) > 5),
        })  # fmt: skip
    return rows


def _slice(places: Sequence[int]) -> str:
    return "–".join(map(str, sorted({*places[:1], *places[-1:]})))


def read(
    inspected: Inspected, symbols: Sequence[str],
    patch: Mapping[tuple[str, int], Any] | None = None, dtype: torch.dtype = torch.float32,
) -> Run:  # fmt: skip
    """The network on one input, in a dtype, certified or not.

    `patch`: (variable, position) → the value that it has there, in network and reference.

    Raises `ProgramInputError` as `CoNNModel.encode`; `ValueError` for an unknown variable, a
    position outside the input, or a value that the variable never has; as `reference.trace` where
    the patched program means nothing.
    """
    network = copy.deepcopy(inspected.network).to(float_dtype(dtype))
    network.allow_uncertified = True
    ids, held = network.encode([symbols]), {}
    fits = isinstance(patch, Mapping) and all(isinstance(p, tuple) and len(p) == 2 for p in patch)
    if patch and not fits:
        raise ValueError(f"patch={shown(patch)}: it must be {{(variable, position): value}}")
    for (name, place), value in (patch or {}).items():
        node = inspected.variables[one_of("variable", name, tuple(inspected.variables))]
        held[node, whole("position", place, 0, len(symbols) - 1)] = value
        _write(inspected.compiled, network, node, place, value)
    meant = trace(inspected.compiled.program, symbols, held)
    with torch.inference_mode():
        out = network(ids, output_attentions=True, output_hidden_states=True)
    return Run(
        inspected,
        tuple(symbols),
        torch.cat(out.hidden_states).float(),
        tuple(None if each is None else each[0].float() for each in out.attentions),
        out.logits[0].float(),
        meant,
    )


def _write(compiled: Compiled, network: CoNNModel, node: Node, place: int, value: Any) -> None:
    """Have what writes a node write `value` at one position."""
    dims, domain, depth = compiled.of[node], compiled.domain[node], compiled.depth[node]
    fits = value in list(dims) or (value is None and not isinstance(node, Index | Token))
    if number := None in dims:
        fits = isinstance(value, int | float) and domain[0] <= value <= domain[1]
    if not fits:
        raise ValueError(f"{node} is never {value!r}: it is {'from, to ' * number}{domain}")
    target = torch.tensor([float(value) if number else float(each == value) for each in dims])
    module: nn.Module = network.positions if isinstance(node, Index | Position) else network.tokens
    if depth:
        layer = network.layers[(depth - 1) // 2]
        module = layer.o if depth % 2 else layer.down

    def write(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[..., 1 + place, list(dims.values())] = target.to(output)
        return output

    module.register_forward_hook(write)


def decoded(run: Run, step: int = -1) -> dict[str, list[Any]]:
    """The variables written by a step, per position, read from the residual stream alone.

    None is no value; a number is a float where it is not whole. Raises `ValueError` for no step.
    """
    step = whole("step", step, -len(run.streams), len(run.streams) - 1) % len(run.streams)
    compiled, stream = run.inspected.compiled, run.streams[step, 1:]
    values: dict[str, list[Any]] = {}
    for name, node in run.inspected.variables.items():
        dims = compiled.of[node]
        block = stream[:, list(dims.values())].tolist()
        if compiled.depth[node] > step:
            continue
        if None in dims:
            values[name] = [int(v) if v.is_integer() else v for (v,) in block]
        else:
            values[name] = [
                next((value for value, x in zip(dims, row, strict=True) if x > 0.5), None)
                for row in block
            ]
    return values


def differing(run: Run, other: Run | None = None) -> list[dict[str, Any]]:
    """Where a run's variables are not what they are in another, or not what they are meant to be.

    Rows of variable, position, and both values, as the variables are written. Numbers that are not
    whole are the same within float32's rounding. Raises `ValueError` for runs of two programs or
    lengths.
    """
    meant = {name: run.meant[node] for name, node in run.inspected.variables.items()}
    before = decoded(other) if other else meant
    if list(before) != list(meant) or len(run.symbols) != len((other or run).symbols):
        raise ValueError(f"{shown(other.symbols)} cannot be held beside {shown(run.symbols)}: runs "
                         "of one program on inputs of one length can")  # fmt: skip
    return [
        {"variable": name, "position": i, "was" if other else "meant": b, "is": a}
        for name, row in decoded(run).items()
        for i, (a, b) in enumerate(zip(row, before[name], strict=True))
        if a != b and not (isinstance(a, float) and math.isclose(a, b, rel_tol=1e-5))
    ]  # fmt: skip


def attending(inspected: Inspected) -> list[str]:
    """The variables that heads write."""
    return [name for name, node in inspected.variables.items() if hasattr(node, "selector")]


def attention(run: Run, variable: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(a variable's head, what the reference predicts of it), float `[query, 1 + key]`, BOS first.

    The selected share it equally, and with BOS where a `Select` counts them; BOS has all where
    nothing is selected. Raises `ValueError` for a variable that no head writes.
    """
    compiled, variables = run.inspected.compiled, run.inspected.variables
    node = variables[one_of("variable", variable, attending(run.inspected))]
    layer = (compiled.depth[node] - 1) // 2
    head = [each.node for each in compiled.layers[layer].heads].index(node)
    measured = run.attentions[layer][head, 1:]
    predicted = torch.zeros_like(measured)
    for i, keys in enumerate(run.meant[node.selector]):
        shared = isinstance(node, Count) and isinstance(node.selector, Select)
        chosen = [1 + key for key in keys] + [0] * (shared or not keys)
        predicted[i, chosen] = 1 / len(chosen)
    return measured, predicted


def margin(run: Run) -> float:
    """How clearly the network gives the reference's output: 1 at most, below 0 wrong.

    The least over positions of twice the way from ½ up to the right logit, or down to another.
    """
    logits, right = run.logits[1:], run.meant[run.inspected.compiled.program]
    outputs = run.inspected.network.config.outputs
    hits = torch.tensor([[output == str(value) for output in outputs] for value in right])
    return float(torch.where(hits, 2 * logits - 1, 1 - 2 * logits).min().clamp(max=1))
