"""Load an SAE, check that it fits a model, encode activations into its features."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from workbench.errors import FeatureError
from workbench.hashing import digest, tensors_digest
from workbench.models.hooks import SUPPORTED, find_hook, parse_hook, reading
from workbench.reading import read_arrays, read_json

log = logging.getLogger(__name__)
_SCOPE = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_UNREADABLE = (
    OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError,
    RuntimeError, ImportError, SafetensorError,
)  # fmt: skip
"""What SAELens raises on files that are damaged or no SAE's: it checks none of what it reads."""
_FLOATS = {"F16", "BF16", "F32", "F64"}


def load_sae(source: Any, device: str | torch.device = "cpu") -> Any:
    """A SAELens SAE in float32, frozen and in eval mode.

    `source`: `"release:id"` of SAELens' registry, a folder it wrote, a Gemma Scope `params.npz`
    (whose hook must be given where it is used), or a SAELens object. Raises `FeatureError` for a
    source that is none of these, keys, types or shapes that are wrong, weights that are not finite,
    or a normalisation that is not folded into the weights. Nothing is unpickled.
    """
    from sae_lens import SAE

    if isinstance(source, SAE):
        sae = source
    elif Path(str(source)).suffix == ".npz":
        sae = _gemma_scope(Path(source))
    elif Path(str(source)).is_dir():
        _check_folder(Path(source))
        try:
            sae = SAE.load_from_disk(str(source), device="cpu")
        except _UNREADABLE as error:
            raise FeatureError(f"{source}: no SAE that SAELens can read ({error})") from error
    elif ":" in str(source):
        release, _, name = str(source).partition(":")
        try:
            sae = SAE.from_pretrained(release, name, device="cpu")
        except _UNREADABLE as error:
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
    _check_settings(sae, str(source))
    sae = sae.to(device, torch.float32).eval().requires_grad_(False)
    for name, weights in sae.state_dict().items():
        if not weights.isfinite().all():
            raise FeatureError(f"{source}: {name} holds values that are not finite in float32")
    return sae


def _check_folder(folder: Path) -> None:
    """`FeatureError` for a cfg.json or weights that SAELens would take for something else."""
    config = read_json(folder / "cfg.json", FeatureError)
    if not isinstance(config, dict):
        raise FeatureError(f"{folder / 'cfg.json'}: a {type(config).__name__}, expected an object")
    path = folder / "sae_weights.safetensors"
    try:
        with safe_open(str(path), "pt") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FeatureError(f"{path} cannot be read: {error}") from error
    # SAELens casts: the real part of a complex weight, or what was never dequantised.
    for name, dtype in types.items():
        if dtype not in _FLOATS:
            raise FeatureError(f"{path}: {name} is {dtype}, expected one of {sorted(_FLOATS)}")


def _check_settings(sae: Any, source: str) -> None:
    """`FeatureError` for a setting of another type than SAELens declares, or sizes that are none.

    SAELens keeps whatever cfg.json holds: "false" would be true.
    """
    settings, metadata = sae.cfg, sae.cfg.metadata
    hints = get_type_hints(type(settings))
    for name, value in vars(settings).items():
        kind = hints.get(name)
        if kind is float and type(value) is int:
            continue
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise FeatureError(f"{source}: {name} is {value!r:.80}, not one of {get_args(kind)}")
        if kind in (bool, int, float, str) and type(value) is not kind:
            raise FeatureError(f"{source}: {name} is {value!r:.80}, expected {kind.__name__}")
    for name in ("hook_name", "model_name"):
        if not isinstance(getattr(metadata, name), str | None):
            raise FeatureError(f"{source}: {name} is {getattr(metadata, name)!r:.80}, no text")
    sizes = {"d_in": None, "d_sae": None, "k": settings.d_sae}
    for name, most in sizes.items():
        size = getattr(settings, name, 1)
        if size < 1 or (most and size > most):
            raise FeatureError(f"{source}: {name} is {size}")


def _gemma_scope(path: Path) -> Any:
    """JumpReLU of §2.8: c = relu(z)·1[z > threshold], z = h·W_enc + b_enc."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    stored = read_arrays(path, FeatureError)
    if not set(_SCOPE) <= stored.keys():
        raise FeatureError(f"{path}: needs arrays {', '.join(_SCOPE)}, has {', '.join(stored)}")
    if stored["W_enc"].ndim != 2 or not stored["W_enc"].size:
        raise FeatureError(f"{path}: W_enc is {stored['W_enc'].shape}, expected two axes")
    d, m = stored["W_enc"].shape
    shapes = dict(zip(_SCOPE, ((d, m), (m,), (m, d), (d,), (m,)), strict=True))
    arrays = {}
    for name, shape in shapes.items():
        if stored[name].shape != shape:
            raise FeatureError(f"{path}: {name} is {stored[name].shape}, expected {shape}")
        if stored[name].dtype.kind != "f":
            raise FeatureError(f"{path}: {name} is {stored[name].dtype}, expected float32")
        with np.errstate(over="ignore"):  # named with all that is not finite
            arrays[name] = torch.from_numpy(stored[name].astype(np.float32))
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d, d_sae=m, apply_b_dec_to_input=False))
    sae.load_state_dict(arrays)
    return sae


def sae_digest(sae: Any) -> str:
    """16 hex digits of all that an SAE computes with: weights, settings, activation function."""
    settings = {k: repr(v) for k, v in vars(sae.cfg).items() if k not in ("metadata", "device")}
    activation = getattr(sae, "activation_fn", None)
    numbers = {
        k: v for k, v in getattr(activation, "__dict__", {}).items() if isinstance(v, int | float)
    }
    kinds = [type(sae).__name__, type(activation).__name__]
    return digest([tensors_digest(sae.state_dict()), kinds, settings, numbers])


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
