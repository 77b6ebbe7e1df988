"""Where each family keeps its parts."""

from dataclasses import dataclass, replace
from typing import Any

import torch

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


def final_norm(model: Any) -> torch.nn.Module | None:
    """The norm in front of the head: the last one beside the blocks; None in OPT-350m."""
    hf = model.get_base_model() if hasattr(model, "peft_config") else model
    path = anatomy_of(hf.config, hf.config._name_or_path or type(hf).__name__).layers
    parent = hf.get_submodule(path.rpartition(".")[0])
    norms = [m for name, m in parent.named_children() if "norm" in name or name == "ln_f"]
    return norms[-1] if norms else None
