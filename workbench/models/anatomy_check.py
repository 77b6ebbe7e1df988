"""Whether the parts that an anatomy names do what it says: tried on each kind of layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from workbench.errors import ModelError
from workbench.models.anatomy import Anatomy, first, projection_sizes

STEERED_RESID = "steered resid"
"""What a residual direction acts on: `"resid"`, shifted through the anatomy's module `resid`."""
_CACHES = ("past_key_values", "past_key_value", "layer_past", "cache_params", "cache")


class _Enough(Exception):  # noqa: N818 - not an error, a way out of the forward
    pass


@torch.inference_mode()
def check_anatomy(hf: PreTrainedModel, anatomy: Anatomy, name: str) -> dict[str, str]:
    """Run two tokens up to the last new kind of layer; each named part does what its name says.

    Of each kind, the first layer is run again on known vectors. With the outputs of `o_proj` and
    `mlp` set to zero it must give back its input, and what is added to one of them must arrive in
    its output unchanged: resid_in + attention + MLP = resid_out, whatever the weights are.

    Returns why a site is refused, by site: `"mlp"` where that module's output holds the residual
    stream, too, or enters it scaled (a norm behind it is what `resid` names); `STEERED_RESID`
    where nothing is named whose output enters it as it is; `"heads"` or `"mlp"` where a layer has
    no such part.

    Raises `ModelError` where a path leads nowhere, a width is wrong, or a vector added to the
    output of a `resid` that is named does not arrive unchanged in the block's output.
    """
    config = hf.config.get_text_config()
    try:
        layers = hf.get_submodule(anatomy.layers)
        block = layers[0]
        o_proj = block.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}")
        block.get_submodule(anatomy.mlp)
        block.get_submodule(anatomy.resid or anatomy.mlp)
        width_in, width_out = projection_sizes(o_proj)
    except (AttributeError, TypeError, IndexError) as error:
        raise ModelError(f"{name}: {anatomy} does not hold: {error}") from error
    refused: dict[str, str] = {}
    for index, other in enumerate(layers):
        for site, path in (
            ("heads", f"{anatomy.attn}.{anatomy.o_proj}"),
            ("mlp", anatomy.mlp),
            (STEERED_RESID, anatomy.resid or anatomy.mlp),
        ):
            part = _part(other, path)
            if part is None:
                refused.setdefault(site, f"layer {index} has no {path}")
            elif site == "heads" and projection_sizes(part) != (width_in, width_out):
                refused.setdefault(site, f"{path} has another width in layer {index}")
    for index, again in _first_of_each_kind(hf, layers, config):
        if index == 0:
            expected = {"o_proj": width_in, "mlp": config.hidden_size, "layer": config.hidden_size}
            widths = again.widths(anatomy)
            wrong = [part for part, width in expected.items() if widths.get(part) != width]
            if wrong or width_in % config.num_attention_heads or width_out != config.hidden_size:
                raise ModelError(
                    f"{name}: {anatomy} does not hold in a forward pass: saw widths {widths}, "
                    f"expected {expected}, {config.num_attention_heads} heads."
                )
        for site, reason in again.refused(anatomy).items():
            if site == STEERED_RESID and anatomy.resid:
                raise ModelError(
                    f"{name}: {reason} of layer {index}. Pass Anatomy(…, resid=…): the module "
                    "whose output enters the residual stream last (a norm behind the MLP, where "
                    "there is one); or leave it out, and no residual direction is steered."
                )
            refused.setdefault(site, f"{reason} of layer {index}")
    return refused


class _Again:
    """One block, to be run again on vectors of the check's own in place of its input."""

    def __init__(self, block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict) -> None:
        self.block, self.args = block, args
        # A cache would go on with every run.
        self.kwargs = {k: None if k in _CACHES else v for k, v in kwargs.items()}
        states = args[0] if args else kwargs["hidden_states"]
        noise = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
        self.input = (noise * states.abs().float().mean().clamp(1e-2, 1.0).cpu()).to(states)

    def __call__(self) -> torch.Tensor:
        """The block's output."""
        if self.args:
            return first(self.block(self.input.clone(), *self.args[1:], **self.kwargs)).clone()
        return first(self.block(**{**self.kwargs, "hidden_states": self.input.clone()})).clone()

    def widths(self, anatomy: Anatomy) -> dict[str, int]:
        """Widths of `o_proj`'s input, the MLP's output and the block's, of parts that ran."""
        seen: dict[str, int] = {}
        o_proj = self.block.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}")
        mlp = self.block.get_submodule(anatomy.mlp)
        hooks = [
            o_proj.register_forward_pre_hook(
                lambda _, args: seen.__setitem__("o_proj", args[0].numel() // 2)
            ),
            mlp.register_forward_hook(
                lambda _, __, out: seen.__setitem__("mlp", first(out).numel() // 2)
            ),
        ]
        try:
            seen["layer"] = self().numel() // 2
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def refused(self, anatomy: Anatomy) -> dict[str, str]:
        """Why a site of this block is refused, by site."""
        o_proj = _part(self.block, f"{anatomy.attn}.{anatomy.o_proj}")
        mlp = _part(self.block, anatomy.mlp)
        named = anatomy.resid or anatomy.mlp
        resid = _part(self.block, named)
        refused = {}
        if resid is not None and not self._arrives(resid):
            refused[STEERED_RESID] = (
                f"a vector added to the output of {named!r} does not arrive unchanged in the "
                "block's output"
            )
        if mlp is None:
            return refused
        # A norm behind the MLP is named by `resid`; the MLP's own output is then what is read.
        behind = STEERED_RESID not in refused and resid not in (None, *mlp.modules())
        if not behind and not self._arrives(mlp):
            refused["mlp"] = (
                f"the output of {anatomy.mlp!r} does not enter the residual stream as it is (it is "
                "scaled, or a norm is behind it that Anatomy(…, resid=…) does not name)"
            )
        apart = self._apart()
        with _changed(mlp, torch.zeros_like):
            holds_all = self._apart() < 1e-3 * apart
            holds_part = False
            if not behind and o_proj is not None:
                with _changed(o_proj, torch.zeros_like):
                    holds_part = not self._close(self() - self.input)
        if holds_all or holds_part:
            refused["mlp"] = (
                f"the output of {anatomy.mlp!r} holds the residual stream, too: without it and "
                "the attention's the block does not give back its input. Read 'resid', or name "
                "another module, Anatomy(…, mlp=…)"
            )
        return refused

    def _apart(self) -> float:
        """How far the block's outputs at the two tokens lie apart."""
        tokens = self().reshape(2, -1).float()
        return float((tokens[0] - tokens[1]).abs().max())

    @property
    def _size(self) -> float:
        return float(self.input.abs().max())

    def _close(self, rest: torch.Tensor, size: float = 0.0) -> bool:
        """Whether this is nothing but rounding, beside values of `size`."""
        share = min(0.05, max(1e-3, 16 * torch.finfo(self.input.dtype).eps))
        return bool(rest.float().abs().max() <= share * max(size, self._size))

    def _arrives(self, module: torch.nn.Module) -> bool:
        """Whether a vector added to the module's output is added to the block's, as it is."""
        plain = self()
        size = max(float(plain.abs().max()), self._size)
        added = size * torch.linspace(-1, 1, plain.shape[-1]).to(plain)
        with _changed(module, lambda hidden: hidden + added.to(hidden)):
            return self._close(self().float() - plain.float() - added.float(), size)


def _first_of_each_kind(
    hf: PreTrainedModel, layers: torch.nn.ModuleList, config: Any
) -> Iterator[tuple[int, _Again]]:
    """(index, block to be run again) of every layer that is unlike all before it."""
    types = getattr(config, "layer_types", None) or [None] * len(layers)
    kinds: dict[Any, int] = {}
    for index, block in enumerate(layers):
        kind_of_layer = types[index] if index < len(types) else None
        kinds.setdefault((kind_of_layer, *_kind(block)), index)
    given: dict[int, _Again] = {}

    def keep(index: int) -> Any:
        def hook(block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict) -> None:
            if index not in given:
                given[index] = _Again(block, args, kwargs)
                if len(given) == len(kinds):
                    raise _Enough

        return hook

    handles = [
        layers[index].register_forward_pre_hook(keep(index), with_kwargs=True)
        for index in kinds.values()
    ]
    ids = torch.arange(1, 3, device=hf.get_input_embeddings().weight.device)[None]
    try:
        hf(ids, use_cache=False)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    yield from sorted(given.items())


def _kind(block: torch.nn.Module) -> Iterator[Any]:
    """What tells two kinds of layers apart: classes, sizes, switches, and hooks of their own."""
    for path, module in block.named_modules():
        plain = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, float | bool | str) or (name == "forward")
        }
        yield path, type(module), repr(sorted(plain.items())), len(module._forward_hooks)
        yield tuple((name, p.shape) for name, p in module.named_parameters(recurse=False))


def _part(block: torch.nn.Module, path: str) -> torch.nn.Module | None:
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None


@contextmanager
def _changed(module: torch.nn.Module, change: Any) -> Iterator[None]:
    """The module's output, changed, for a while."""

    def hook(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        changed = change(first(output))
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
