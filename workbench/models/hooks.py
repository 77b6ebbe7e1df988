"""Read and replace activations at TransformerLens hook names, with gradient, on plain modules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from workbench.errors import FeatureError
from workbench.models.anatomy import anatomy_of, first
from workbench.models.eager import eager
from workbench.models.hook_names import parse_hook


@dataclass(frozen=True)
class Hook:
    """Where an SAE reads: `module`'s "input" or "output". `heads`: 1, or all of them for hook_z."""

    module: nn.Module
    reads: str
    heads: int
    name: str


class Slot:
    """The activation of the last forward, `[batch, position, d]`; overwritten by the next one."""

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
        added = block.get_submodule(anatomy.resid if normed else anatomy.mlp)
        return Hook(added, "output", 1, hook_name)
    o_proj = block.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}")
    return Hook(o_proj, "input", hf.config.get_text_config().num_attention_heads, hook_name)


@contextmanager
def reading(hook: Hook) -> Iterator[Slot]:
    """Capture the activation at `hook` in every forward inside the block, with its gradient."""
    slot = Slot()

    def keep(hidden: torch.Tensor) -> None:
        slot.value = hidden

    with _attached(hook, keep):
        yield slot


@contextmanager
def read_alone(hook: Hook) -> Iterator[Callable[..., torch.Tensor]]:
    """Yield a function that runs a model up to `hook`, and returns the activation there."""

    def stop(hidden: torch.Tensor) -> None:
        raise _Read(hidden)

    def run(model: Any, **inputs: Any) -> torch.Tensor:
        try:
            model(**inputs)
        except _Read as reached:
            return reached.args[0]
        raise FeatureError(f"{hook.name} is not reached in a forward of this model")

    with _attached(hook, stop):
        yield run


class _Read(Exception):  # noqa: N818 - no error: what the forward was for is there
    pass


@contextmanager
def replacing(hook: Hook, mask: torch.Tensor, value: torch.Tensor) -> Iterator[None]:
    """Put `value` in the place of the activation at `hook`, in every forward inside the block.

    `mask`: bool `[batch, p]` over the first p positions. `value`: `[n, d]`, one row for each of the
    n true ones; the other positions stay as they are.
    """

    def change(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, : mask.shape[1]][mask] = value.to(hidden.dtype)
        return hidden

    with _attached(hook, change):
        yield


@contextmanager
def _attached(hook: Hook, act: Callable[[torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
    """Call `act` with the activation at `hook`; what it returns, if anything, takes its place."""

    def at_input(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        new = act(args[0] if args else kwargs["hidden_states"])
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def at_output(_: nn.Module, __: tuple, output: Any) -> Any:
        new = act(first(output))
        return (new, *output[1:]) if new is not None and isinstance(output, tuple) else new

    if hook.reads == "input":
        handle = hook.module.register_forward_pre_hook(at_input, with_kwargs=True)
    else:
        handle = hook.module.register_forward_hook(at_output)
    try:
        with eager():
            yield
    finally:
        handle.remove()
