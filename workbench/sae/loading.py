"""Load an SAE, check that it fits a model, encode activations into its features."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.errors import FeatureError
from workbench.models.hooks import SUPPORTED, find_hook, parse_hook, reading

log = logging.getLogger(__name__)
_SCOPE = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")


def load_sae(source: Any, device: str | torch.device = "cpu") -> Any:
    """A SAELens SAE in float32, frozen and in eval mode.

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
    """The hook given, or the SAE's own; `FeatureError` naming `SUPPORTED` without one."""
    name = hook or sae.cfg.metadata.hook_name
    if not name:
        raise FeatureError(
            f"the SAE does not say where it reads; give its hook, one of {', '.join(SUPPORTED)}"
        )
    parse_hook(name)
    return name


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
    trained_on, name = sae.cfg.metadata.model_name, model.config._name_or_path
    if trained_on and name and trained_on.split("/")[-1].lower() != name.split("/")[-1].lower():
        log.warning("the SAE was trained on %s, this is %s: look at its health", trained_on, name)


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
