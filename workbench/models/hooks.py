"""Read and replace activations at TransformerLens hook names, with gradient, on plain modules."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from workbench.errors import FeatureError
from workbench.models.anatomy import anatomy_of, first

SUPPORTED = (
    "blocks.L.hook_resid_pre",
    "blocks.L.hook_resid_post",
    "blocks.L.hook_mlp_out",
    "blocks.L.attn.hook_z",
)
_HOOK = re.compile(r"blocks\.(\d+)\.(hook_resid_pre|hook_resid_post|hook_mlp_out|attn\.hook_z)")


@dataclass(frozen=True)
class Hook:
    """Where an SAE reads: `module`'s "input" or "output". `heads`: 1, or all of them for hook_z."""

    module: nn.Module
    reads: str
    heads: int
    name: str


class Slot:
    """The last captured activation, `[batch, position, d]`; overwritten by every forward."""

    value: torch.Tensor


def find_hook(model: Any, hook_name: str) -> Hook:
    """The module behind a TransformerLens hook name, also inside a PEFT model.

    `hook_mlp_out` is what the MLP adds to the residual stream: behind the norm that follows it in
    Gemma 2 and 3 and OLMo 2. Raises `FeatureError` for an unsupported hook or a layer the model
    does not have, `ModelError` for an unknown family.
    """
    hf: PreTrainedModel = model.get_base_model() if hasattr(model, "peft_config") else model
    layer, site = parse_hook(hook_name)
    anatomy = anatomy_of(hf.config, hf.config._name_or_path or type(hf).__name__)
    layers = hf.get_submodule(anatomy.layers)
    if layer >= len(layers):
        raise FeatureError(f"{hook_name}: layer {layer}, but the model has {len(layers)} layers")
    block = layers[layer]
    if site == "hook_resid_pre":
        return Hook(block, "input", 1, hook_name)
    if site == "hook_resid_post":
        return Hook(block, "output", 1, hook_name)
    if site == "hook_mlp_out":
        normed = anatomy.resid and "norm" in anatomy.resid
        return Hook(
            block.get_submodule(anatomy.resid if normed else anatomy.mlp), "output", 1, hook_name
        )
    o_proj = block.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}")
    return Hook(o_proj, "input", hf.config.get_text_config().num_attention_heads, hook_name)


@contextlib.contextmanager
def reading(hook: Hook) -> Iterator[Slot]:
    """Capture what `hook` reads in every forward inside the block, with its gradient."""
    slot = Slot()

    def keep_input(_: nn.Module, args: tuple, kwargs: dict) -> None:
        slot.value = args[0] if args else kwargs["hidden_states"]

    def keep_output(_: nn.Module, __: tuple, output: Any) -> None:
        slot.value = first(output)

    if hook.reads == "input":
        handle = hook.module.register_forward_pre_hook(keep_input, with_kwargs=True)
    else:
        handle = hook.module.register_forward_hook(keep_output)
    try:
        yield slot
    finally:
        handle.remove()


def parse_hook(hook_name: str) -> tuple[int, str]:
    """(layer, site) of a TransformerLens hook name; `FeatureError` naming `SUPPORTED`."""
    found = _HOOK.fullmatch(hook_name)
    if not found:
        raise FeatureError(f"hook {hook_name!r} is not supported; use {', '.join(SUPPORTED)}")
    return int(found[1]), found[2]


@contextlib.contextmanager
def replacing(hook: Hook, mask: torch.Tensor, value: torch.Tensor) -> Iterator[None]:
    """`value` `[n, d]` instead of what `hook` reads at the n positions of `mask`."""

    def change(hidden: torch.Tensor) -> torch.Tensor:
        out = hidden.clone()
        out[:, :-1][mask] = value.to(hidden.dtype)
        return out

    def change_input(_: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def change_output(_: Any, __: tuple, output: Any) -> Any:
        new = change(first(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    if hook.reads == "input":
        handle = hook.module.register_forward_pre_hook(change_input, with_kwargs=True)
    else:
        handle = hook.module.register_forward_hook(change_output)
    try:
        yield
    finally:
        handle.remove()
