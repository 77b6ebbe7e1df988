"""Where each family keeps its parts, checked against a real forward pass."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from workbench.errors import ModelError


@dataclass(frozen=True)
class Anatomy:
    """Where a family keeps its parts, as attribute paths.

    >>> bloom = wb.Anatomy("transformer.h", "self_attention", "dense")
    >>> model = wb.load("bigscience/bloom-560m", anatomy=bloom)

    `layers` starts at the causal LM; the others start at one layer. `o_proj` (inside `attn`) is the
    attention's output projection: its input is the concatenation of all query heads. `mlp` is the
    module whose output the site `"mlp"` reads. `resid` is the module whose output enters the
    residual stream last: a vector added to it is added to the block's output (the MLP's last
    projection, or the norm behind it where a family has one); `mlp` itself where it is not given.
    """

    layers: str
    attn: str
    o_proj: str
    mlp: str = "mlp"
    resid: str | None = None

    @property
    def rename(self) -> dict[str, str]:
        """nnsight aliases that give every family the names `layers[i].attn.o_proj`, `.mlp`."""
        names = {self.layers: "layers"}
        if self.attn != "attn":
            names[self.attn] = "attn"
        if self.o_proj != "o_proj":
            names[f"{self.attn}.{self.o_proj}"] = f"{self.attn}.o_proj"
        if self.mlp != "mlp":
            names[self.mlp] = "mlp"
        return names


_LLAMA = Anatomy("model.layers", "self_attn", "o_proj", resid="mlp.down_proj")
_POST_NORM = replace(_LLAMA, resid="post_feedforward_layernorm")
ANATOMIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": replace(_LLAMA, resid="mlp"),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _POST_NORM,
    "gemma3_text": _POST_NORM,
    "gemma3": replace(_POST_NORM, layers="model.language_model.layers"),
    "phi3": _LLAMA,
    "olmo2": _POST_NORM,
    "gpt2": Anatomy("transformer.h", "attn", "c_proj", resid="mlp.c_proj"),
    "gpt_neox": Anatomy("gpt_neox.layers", "attention", "dense", resid="mlp.dense_4h_to_h"),
    "opt": Anatomy("model.decoder.layers", "self_attn", "out_proj", mlp="fc2", resid="fc2"),
    "falcon": Anatomy("transformer.h", "self_attention", "dense", resid="mlp.dense_4h_to_h"),
}
"""The anatomy of every known family, by its config's `model_type`.

>>> wb.ANATOMIES["gpt2"].o_proj
'c_proj'
"""


def anatomy_of(config: Any, name: str) -> Anatomy:
    """The anatomy of a config's family; `ModelError` listing the known ones for another."""
    if config.model_type not in ANATOMIES:
        raise ModelError(
            f"{name}: family {config.model_type!r} is unknown. Known: {', '.join(ANATOMIES)}. "
            "For another, pass load(..., anatomy=Anatomy(layers=…, attn=…, o_proj=…)), paths as in "
            'Anatomy(layers="model.layers", attn="self_attn", o_proj="o_proj").'
        )
    if config.model_type == "opt" and not config.do_layer_norm_before:
        # OPT-350m alone: the block ends in a norm.
        return replace(ANATOMIES["opt"], resid="final_layer_norm")
    return ANATOMIES[config.model_type]


def kv_heads(config: Any) -> int:
    """Key/value heads of a text config; Falcon says it in words of its own."""
    if config.model_type == "falcon" and not config.new_decoder_architecture:
        return 1 if config.multi_query else config.num_attention_heads
    for field in ("num_key_value_heads", "num_kv_heads"):
        if getattr(config, field, None):
            return getattr(config, field)
    return config.num_attention_heads


def projection_sizes(module: torch.nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear projection; GPT-2's Conv1D stores its weight transposed."""
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return module.weight.shape[0], module.weight.shape[1]


def first(output: Any) -> torch.Tensor:
    """The hidden states of a module output, which some families wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output


@torch.inference_mode()
def check_anatomy(hf: PreTrainedModel, anatomy: Anatomy, name: str) -> dict[str, str]:
    """Run the first block on two tokens: each named part exists and does what its name says.

    Returns why a site is refused, by site: `"mlp"` where that module's output holds the residual
    stream, too; `"heads"` or `"mlp"` where a layer has no such part.

    Raises `ModelError` where a path leads nowhere, a width is wrong, or a vector added to the
    output of `resid` does not arrive unchanged in the block's output.
    """
    config = hf.config.get_text_config()
    try:
        layer = hf.get_submodule(anatomy.layers)[0]
        o_proj = layer.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}")
        mlp = layer.get_submodule(anatomy.mlp)
        resid = layer.get_submodule(anatomy.resid or anatomy.mlp)
        width_in, width_out = projection_sizes(o_proj)
    except (AttributeError, TypeError, IndexError) as error:
        raise ModelError(f"{name}: {anatomy} does not hold: {error}") from error
    states: dict[str, torch.Tensor] = {}

    def keep(part: str, tensor: torch.Tensor) -> None:
        states[part] = tensor.detach().clone().reshape(2, -1)

    hooks = [
        o_proj.register_forward_pre_hook(lambda _, args: keep("o_proj", args[0])),
        mlp.register_forward_hook(lambda _, __, out: keep("mlp", first(out))),
    ]
    try:
        _first_block(hf, layer, lambda out: keep("layer", out))
        for hook in hooks:
            hook.remove()
        expected = {"o_proj": width_in, "mlp": config.hidden_size, "layer": config.hidden_size}
        wrong = [k for k, d in expected.items() if k not in states or states[k].shape[1] != d]
        if wrong or width_in % config.num_attention_heads or width_out != config.hidden_size:
            shapes = {k: tuple(v.shape) for k, v in states.items()}
            raise ModelError(
                f"{name}: {anatomy} does not hold in a forward pass: saw {shapes}, expected widths "
                f"{expected}, {config.num_attention_heads} heads."
            )
        plain = states["layer"]
        size = plain.abs().max().clamp_min(1.0)
        added = size * torch.linspace(-1, 1, config.hidden_size).to(plain)
        hooks = [resid.register_forward_hook(lambda _, __, out: _shifted(out, added))]
        _first_block(hf, layer, lambda out: keep("shifted", out))
        hooks[0].remove()
        hooks = [mlp.register_forward_hook(lambda _, __, out: _shifted(out, -first(out)))]
        _first_block(hf, layer, lambda out: keep("without_mlp", out))
    finally:
        for hook in hooks:
            hook.remove()
    moved = states["shifted"].float() - plain.float()
    if not (moved - added.float()).abs().max() <= 0.05 * size.float():
        raise ModelError(
            f"{name}: a vector added to the output of {anatomy.resid or anatomy.mlp!r} does not "
            "arrive unchanged in the block's output. Pass Anatomy(…, resid=…): the module whose "
            "output enters the residual stream last (a norm behind the MLP, where there is one)."
        )
    refused = {}
    for index, block in enumerate(hf.get_submodule(anatomy.layers)):
        for site, path in (("heads", f"{anatomy.attn}.{anatomy.o_proj}"), ("mlp", anatomy.mlp)):
            part = _part(block, path)
            if part is None:
                refused.setdefault(site, f"layer {index} has no {path}")
            elif site == "heads" and projection_sizes(part) != (width_in, width_out):
                refused.setdefault(site, f"{path} has another width in layer {index}")
    between = (plain[0] - plain[1]).abs().max()
    left = states["without_mlp"]
    if (left[0] - left[1]).abs().max() < 1e-3 * between:
        refused["mlp"] = (
            f"the output of {anatomy.mlp!r} holds the residual stream, too: without it nothing of "
            "the block's input is left. Read 'resid', or name another module, Anatomy(…, mlp=…)"
        )
    return refused


def _part(block: torch.nn.Module, path: str) -> torch.nn.Module | None:
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None


def _shifted(output: Any, added: torch.Tensor) -> Any:
    shifted = first(output) + added
    return (shifted, *output[1:]) if isinstance(output, tuple) else shifted


class _Enough(Exception):  # noqa: N818 - not an error, a way out of the forward
    pass


def _first_block(
    hf: PreTrainedModel, layer: torch.nn.Module, keep: Callable[[torch.Tensor], None]
) -> None:
    """Embed two tokens and run the model up to the end of its first block."""

    def leave(_: torch.nn.Module, __: Any, output: Any) -> None:
        keep(first(output))
        raise _Enough

    hook = layer.register_forward_hook(leave)
    ids = torch.arange(1, 3, device=hf.get_input_embeddings().weight.device)[None]
    try:
        hf(ids, use_cache=False)
    except _Enough:
        pass
    finally:
        hook.remove()
