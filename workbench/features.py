"""SAE features of any causal LM: load a dictionary, read where it reads, encode, pool."""

import contextlib
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from workbench.anatomy import anatomy_of, first
from workbench.errors import FeatureError

log = logging.getLogger(__name__)

SUPPORTED = (
    "blocks.L.hook_resid_pre",
    "blocks.L.hook_resid_post",
    "blocks.L.hook_mlp_out",
    "blocks.L.attn.hook_z",
)
_HOOK = re.compile(r"blocks\.(\d+)\.(hook_resid_pre|hook_resid_post|hook_mlp_out|attn\.hook_z)")
_SCOPE = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")


def load_sae(source: Any, device: str | torch.device = "cpu") -> Any:
    """A SAELens dictionary in float32, frozen and in eval mode.

    `source`: `"release:id"` of SAELens' registry, a folder it wrote, a Gemma Scope `params.npz`
    (whose hook must be given where it is used), or a SAELens object. Raises `FeatureError` for a
    source that is none of these, keys or shapes that are wrong, or a normalisation that is not
    folded into the weights.
    """
    from sae_lens import SAE

    if isinstance(source, SAE):
        sae = source
    elif Path(str(source)).suffix == ".npz":
        sae = _gemma_scope(Path(source))
    elif Path(str(source)).is_dir():
        try:
            sae = SAE.load_from_disk(str(source), device="cpu")
        except (OSError, KeyError, ValueError) as error:
            raise FeatureError(f"{source}: no SAE that SAELens can read ({error})") from error
    elif ":" in str(source):
        release, _, name = str(source).partition(":")
        try:
            sae = SAE.from_pretrained(release, name, device="cpu")
        except (OSError, KeyError, ValueError) as error:
            raise FeatureError(f"SAE {name!r} of release {release!r}: {error}") from error
    else:
        raise FeatureError(
            f"{source!r} is no SAE: give 'release:id' of SAELens, a folder, or a params.npz"
        )
    if sae.cfg.normalize_activations != "none":
        raise FeatureError(
            f"{source}: expects activations normalised by {sae.cfg.normalize_activations!r}; fold "
            "the scale into its weights (sae.fold_activation_norm_scaling_factor) and save it again"
        )
    return sae.to(device, torch.float32).eval().requires_grad_(False)


def _gemma_scope(path: Path) -> Any:
    """JumpReLU of §2.8: c = relu(z)·1[z > threshold], z = h·W_enc + b_enc."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in _SCOPE}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise FeatureError(f"{path}: needs arrays {', '.join(_SCOPE)} ({error})") from error
    d, m = arrays["W_enc"].shape
    expected = dict(zip(_SCOPE, ((d, m), (m,), (m, d), (d,), (m,)), strict=True))
    for name, shape in expected.items():
        if tuple(arrays[name].shape) != shape:
            raise FeatureError(f"{path}: {name} is {tuple(arrays[name].shape)}, expected {shape}")
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d, d_sae=m, apply_b_dec_to_input=False))
    sae.load_state_dict({k: v.float() for k, v in arrays.items()})
    return sae


def sae_hook(sae: Any, hook: str | None = None) -> str:
    """The hook given, or the dictionary's own; `FeatureError` naming `SUPPORTED` without one."""
    name = hook or sae.cfg.metadata.hook_name
    if not name:
        raise FeatureError(
            f"the SAE does not say where it reads; give its hook, one of {', '.join(SUPPORTED)}"
        )
    parse_hook(name)
    return name


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


def check_sae(sae: Any, model: Any, hook_name: str) -> None:
    """`FeatureError` where width, layer or hook do not fit; a warning for another model's SAE."""
    hook = find_hook(model, hook_name)
    config = model.config.get_text_config()
    width = config.hidden_size
    if hook.heads > 1:
        width = hook.heads * (getattr(config, "head_dim", None) or width // hook.heads)
    if sae.cfg.d_in != width:
        raise FeatureError(
            f"the SAE reads vectors of {sae.cfg.d_in}, the model's {hook_name} has {width}"
        )
    theirs, ours = sae.cfg.metadata.model_name, model.config._name_or_path
    if theirs and ours and theirs.split("/")[-1].lower() != ours.split("/")[-1].lower():
        log.warning("the SAE was trained on %s, this is %s: look at its health", theirs, ours)


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


def encode(sae: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Features `[n, m]` of `hidden` `[n, d]`, float32 whatever the model computes in."""
    with torch.autocast(hidden.device.type, enabled=False):
        # Flat for SAEs that want heads apart, too: SAELens joins the last two axes itself.
        if getattr(sae.cfg, "reshape_activations", "none") == "hook_z":
            heads = sae.cfg.metadata.n_heads or 1
            hidden = hidden.unflatten(-1, (heads, -1))
        return sae.encode(hidden.float())


@torch.no_grad()
def features_of(model: Any, sae: Any, hook_name: str, ids: Sequence[int]) -> torch.Tensor:
    """Features of every token of one text, float32 `[token, m]` on the CPU."""
    device = next(model.parameters()).device
    with reading(find_hook(model, hook_name)) as slot:
        model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False)
    return encode(sae, slot.value[0]).cpu()


def decoder_norms(sae: Any) -> torch.Tensor:
    """‖W_dec,i‖ `[m]`, float32."""
    return sae.W_dec.float().norm(dim=1)


def response_mask(completion_mask: torch.Tensor) -> torch.Tensor:
    """bool `[b, T-1]` of `[b, T]`: position t counts where token t+1 is of the response."""
    return completion_mask[:, 1:].bool()


def stack_pairs(
    rows: Sequence[dict[str, list[int]]], pad_token_id: int, device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, attention, mask) of `rows` as TRL tokenises pairs: all chosen, then all rejected.

    ids, attention: int64 `[2b, T]`, padded on the right; mask: bool `[2b, T-1]`, see
    `response_mask`.
    """
    sides = [(r["prompt_ids"], r[side]) for side in ("chosen_ids", "rejected_ids") for r in rows]
    texts = [torch.tensor(prompt + said) for prompt, said in sides]
    ids = pad_sequence(texts, batch_first=True, padding_value=pad_token_id).to(device)
    begin = torch.tensor([len(prompt) for prompt, _ in sides], device=device)[:, None]
    end = torch.tensor([len(t) for t in texts], device=device)[:, None]
    at = torch.arange(ids.shape[1], device=device)
    return ids, (at < end).long(), response_mask((at >= begin) & (at < end))


@torch.no_grad()
def pool(
    sae: Any,
    hidden: torch.Tensor,
    mask: torch.Tensor,
    how: str = "mean",
    decoder_scale: bool = True,
    budget: int = 1 << 26,
) -> torch.Tensor:
    """Features of each response, `[b, m]` float32, from `hidden` `[b, T, d]`.

    `mask`: bool `[b, T-1]`. `how`: `"mean"` over response positions, `"sum"`, or `"padded"`, the
    sum over T − 1. `decoder_scale`: codes times their decoder's norm. Only response positions are
    encoded, at most `budget` bytes of codes at a time. Raises `ValueError` for another `how`.
    """
    if how not in ("mean", "sum", "padded"):
        raise ValueError(f"how={how!r}; use mean, sum or padded")
    tokens = hidden[:, :-1][mask]
    rows = mask.nonzero()[:, 0]
    out = torch.zeros(len(hidden), sae.cfg.d_sae, device=hidden.device)
    step = max(budget // (4 * sae.cfg.d_sae), 1)
    row = torch.arange(len(hidden), device=hidden.device)[:, None]
    # A product, not index_add: on a GPU that adds in any order, and waits for every address.
    with torch.autocast(hidden.device.type, enabled=False):
        for start in range(0, len(tokens), step):
            some = slice(start, start + step)
            out += (rows[some] == row).float() @ encode(sae, tokens[some])
    if decoder_scale:
        out *= decoder_norms(sae)
    if how == "mean":
        out /= mask.sum(1, keepdim=True).clamp(min=1)
    elif how == "padded":
        out /= mask.shape[1]
    return out


def tensors_hash(state: dict[str, torch.Tensor]) -> str:
    """16 hex digits of every name, shape, dtype and value.

    xxHash: gigabytes of weights are told apart, not defended, and it is ten times as fast as SHA.
    """
    digest = xxhash.xxh3_64()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def parse_hook(hook_name: str) -> tuple[int, str]:
    """(layer, site) of a TransformerLens hook name; `FeatureError` naming `SUPPORTED`."""
    found = _HOOK.fullmatch(hook_name)
    if not found:
        raise FeatureError(f"hook {hook_name!r} is not supported; use {', '.join(SUPPORTED)}")
    return int(found[1]), found[2]
