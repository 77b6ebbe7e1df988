"""Load an SAE, check that it fits a model, encode activations into its features."""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from workbench.arguments import listed, whole
from workbench.errors import FeatureError
from workbench.hashing import digest, tensors_digest
from workbench.models.anatomy import final_norm
from workbench.models.hook_names import SUPPORTED, parse_hook
from workbench.models.hooks import Hook, find_hook, reading
from workbench.reading import read_arrays
from workbench.sae.settings import (
    CENTRED,
    CHECKPOINT,
    FED,
    check_folder,
    check_settings,
    heads_differ,
    reads_centred,
)

log = logging.getLogger(__name__)
_SCOPE = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_UNREADABLE = (
    OSError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError,
    RuntimeError, ImportError, SafetensorError,
)  # fmt: skip
"""What SAELens raises on files that are damaged or no SAE's: it checks none of what it reads."""


def load_sae(source: Any, device: str | torch.device = "cpu") -> Any:
    """A SAELens SAE in float32, frozen and in eval mode.

    `source`: `"release:id"` of SAELens' registry, a folder it wrote, a Gemma Scope `params.npz`
    (whose hook must be given where it is used), or a SAELens object. Raises `FeatureError` for a
    source that is none of these, keys, types or shapes that are wrong, weights that are not finite,
    or a setting that is not honoured (`sae.settings`). Nothing is unpickled.
    """
    from sae_lens import SAE

    if isinstance(source, SAE):
        sae = source
    elif Path(str(source)).suffix == ".npz":
        sae = _gemma_scope(Path(source))
    elif Path(str(source)).is_dir():
        config = check_folder(Path(source))
        sae = _by_saelens(str(source), SAE.load_from_disk, str(source))
        for name in FED & config.keys():  # SAELens reads each in one place alone
            sae.cfg.metadata[name] = config[name]
    elif ":" in str(source):
        release, _, name = str(source).partition(":")
        sae = _by_saelens(str(source), SAE.from_pretrained, release, name)
    else:
        raise FeatureError(
            f"{source!r} is no SAE: give 'release:id' of SAELens, a folder, or a params.npz"
        )
    name = "the SAE" if sae is source else str(source)
    check_settings(sae, name)
    require_weights(sae, name)
    sae = sae.to(device, torch.float32).eval().requires_grad_(False)
    require_weights(sae, name)
    return sae


def _by_saelens(source: str, load: Callable[..., Any], *names: str) -> Any:
    try:
        with warnings.catch_warnings():
            # That the model be loaded by TransformerLens in a way that is honoured here.
            warnings.filterwarnings("ignore", "\\s*This SAE has non-empty", UserWarning)
            return load(*names, device="cpu")
    except _UNREADABLE as error:
        raise FeatureError(f"{source}: no SAE that SAELens can read ({error})") from error


def require_weights(sae: Any, source: str = "the SAE") -> None:
    """`FeatureError` naming a weight of another shape or kind, or one with NaN or infinity."""
    d, m = sae.cfg.d_in, sae.cfg.d_sae
    shapes = {"W_enc": (d, m), "W_dec": (m, d), "b_dec": (d,)}
    for name, weights in sae.state_dict().items():
        shape = shapes.get(name, (m,))
        if weights.shape != shape or not weights.is_floating_point():
            raise FeatureError(
                f"{source}: {name} is {weights.dtype} {tuple(weights.shape)}, expected float32 "
                f"{shape}"
            )
        if not weights.isfinite().all():
            raise FeatureError(f"{source}: {name} holds values that are not finite in float32")


def _gemma_scope(path: Path) -> Any:
    """JumpReLU of §2.8: c = relu(z)·1[z > threshold], z = h·W_enc + b_enc."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    stored = read_arrays(path, FeatureError)
    if set(_SCOPE) != stored.keys():  # another array would be a skip connection, say
        raise FeatureError(f"{path}: needs arrays {', '.join(_SCOPE)}, has {', '.join(stored)}")
    if stored["W_enc"].ndim != 2 or not stored["W_enc"].size:
        raise FeatureError(f"{path}: W_enc is {stored['W_enc'].shape}, expected two axes")
    d, m = stored["W_enc"].shape
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d, d_sae=m, apply_b_dec_to_input=False))
    for name, array in stored.items():
        if array.dtype.kind != "f":
            raise FeatureError(f"{path}: {name} is {array.dtype}, expected float32")
        with np.errstate(over="ignore"):  # named with all that is not finite, or of another shape
            weights = torch.from_numpy(array.astype(np.float32))
        setattr(sae, name, torch.nn.Parameter(weights))
    return sae


def sae_digest(sae: Any) -> str:
    """16 hex digits of all that an SAE computes with: weights, settings, activation function."""
    settings = {k: repr(v) for k, v in vars(sae.cfg).items() if k not in ("metadata", "device")}
    activation = getattr(sae, "activation_fn", None)
    numbers = {
        k: v for k, v in getattr(activation, "__dict__", {}).items() if isinstance(v, int | float)
    }
    kinds = [type(sae).__name__, type(activation).__name__]
    kinds += ["centred"] if reads_centred(sae) else []
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


def require_fit(sae: Any, model: Any, hook_name: str) -> Hook:
    """The hook of an SAE that fits; `FeatureError` where width, layer, hook or settings do not."""
    check_settings(sae, "the SAE")
    hook = find_hook(model, hook_name)
    config = model.config.get_text_config()
    width = config.hidden_size
    if hook.heads > 1:
        width = hook.heads * (getattr(config, "head_dim", None) or width // hook.heads)
    if sae.cfg.d_in != width:
        raise FeatureError(
            f"the SAE reads vectors of {sae.cfg.d_in}, the model's {hook_name} has {width}"
        )
    if reads_centred(sae) and not isinstance(final_norm(model), torch.nn.LayerNorm):
        raise FeatureError(
            f"the SAE was trained with {CENTRED}, which TransformerLens leaves out for models "
            "without layer norm, as this one is; set it to false in cfg.json"
        )
    if hook.heads > 1 and (reads_centred(sae) or heads_differ(sae)):
        names = ", ".join([CENTRED] * reads_centred(sae) + heads_differ(sae))
        raise FeatureError(
            f"the SAE was trained with {names}, after which {hook_name} is not what it read; give "
            "one trained there on the weights as they are"
        )
    return hook


def check_sae(sae: Any, model: Any, hook_name: str) -> None:
    """`require_fit`; and a warning where the SAE was trained on something else.

    On another model or checkpoint, at another hook, or without special tokens.
    """
    require_fit(sae, model, hook_name)
    metadata, name = sae.cfg.metadata, model.config._name_or_path
    trained_on, read = metadata.model_name, metadata.hook_name
    if trained_on and name and trained_on.split("/")[-1].lower() != name.split("/")[-1].lower():
        log.warning("the SAE was trained on %s, this is %s: look at its health", trained_on, name)
    if read and read != hook_name:
        log.warning("the SAE was trained at %s, not %s: look at its health", read, hook_name)
    given = metadata.model_from_pretrained_kwargs or {}
    for key in (k for k in CHECKPOINT if given.get(k) is not None):
        log.warning("the SAE was trained on %s=%r of its model: load that one", key, given[key])
    if metadata.exclude_special_tokens:
        log.warning("the SAE was trained without special tokens: on them its features say little")


def warn_of_bos(sae: Any, model: Any, texts: Iterable[Sequence[int]]) -> None:
    """Warn where `texts` of token ids begin otherwise, with or without BOS, than the SAE's did."""
    asked = sae.cfg.metadata.prepend_bos
    bos = model.config.get_text_config().bos_token_id
    if asked is None or bos is None:
        return
    others = sum((text[0] == bos) != asked for text in texts)
    if others:
        log.warning(
            "the SAE was trained on texts %s a BOS token, %d of these are not like that",
            "behind" if asked else "without", others,
        )  # fmt: skip


def fed(sae: Any, hidden: torch.Tensor) -> torch.Tensor:
    """What of `hidden` `[..., d]` the SAE reads and reconstructs, float32.

    Less its mean over the width where the SAE was trained with `center_writing_weights`.
    """
    hidden = hidden.float()
    return hidden - hidden.mean(-1, keepdim=True) if reads_centred(sae) else hidden


def encode(sae: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Features `[n, m]` of `hidden` `[n, d]`, float32 whatever the model computes in."""
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = fed(sae, hidden)
        # Flat for SAEs that want heads apart, too: SAELens joins the last two axes itself.
        if getattr(sae.cfg, "reshape_activations", "none") == "hook_z":
            heads = sae.cfg.metadata.n_heads or 1
            hidden = hidden.unflatten(-1, (heads, -1))
        return sae.encode(hidden)


@torch.no_grad()
def features_of(model: Any, sae: Any, hook_name: str, ids: Sequence[int]) -> torch.Tensor:
    """Features of every token of one text, float32 `[token, m]` on the CPU.

    Raises `FeatureError` as `require_fit`, and for no token.
    """
    hook = require_fit(sae, model, hook_name)
    most = len(model.get_input_embeddings().weight) - 1
    ids = [whole("ids", i, 0, most, FeatureError) for i in listed("ids", ids, FeatureError)]
    warn_of_bos(sae, model, [ids])
    device = next(model.parameters()).device
    with reading(hook) as slot:
        model(input_ids=torch.tensor([ids], device=device), use_cache=False)
    return encode(sae, slot.value[0]).cpu()


def decoder_norms(sae: Any) -> torch.Tensor:
    """‖W_dec,i‖ `[m]`, float32."""
    return sae.W_dec.float().norm(dim=1)
