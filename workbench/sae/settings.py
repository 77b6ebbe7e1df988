"""Which settings of an SAE are honoured and which are refused, by name, before anything runs."""

import logging
import os
from collections.abc import Set
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from safetensors import SafetensorError, safe_open

from workbench.errors import FeatureError
from workbench.reading import read_object

log = logging.getLogger(__name__)

ARCHITECTURES = ("standard", "gated", "jumprelu", "topk")
"""Those whose features are not negative, of one token each, and decoded into what was read."""
_FLOATS = {"F16", "BF16", "F32", "F64"}
CENTRED = "center_writing_weights"
_OTHER_STREAM = ("fold_value_biases", "refactor_factored_attn_matrices")
"""What TransformerLens does to weights such that `hook_z` reads something else."""
_SAME_STREAM = frozenset(
    "fold_ln center_unembed dtype torch_dtype device device_map n_devices move_to_device n_ctx "
    "first_n_layers default_padding_side default_prepend_bos trust_remote_code low_cpu_mem_usage "
    "attn_implementation use_safetensors local_files_only cache_dir token".split()
)
"""What a model may be loaded with without changing what these hooks read."""
CHECKPOINT = ("revision", "checkpoint_index", "checkpoint_value", "checkpoint_label")
FED = frozenset(
    "model_name model_class_name hook_name hook_head_index model_from_pretrained_kwargs "
    "prepend_bos exclude_special_tokens seqpos_slice hook_name_out hook_head_index_out n_heads "
    f"{CENTRED} {' '.join(_OTHER_STREAM)}".split()
)
"""Settings of what an SAE reads: heeded in metadata and, where SAELens does not look, beside it."""
_BEFORE_METADATA = frozenset("012345")
_OF_TRAINING = FED | frozenset(
    "context_size neuronpedia_id dataset_path "
    "sae_lens_version sae_lens_training_version hf_hook_name training_architecture "
    "training_architecture_details l0 num_dead_features disable_concat_sequences "
    "sequence_separator_token architecture metadata activation_fn activation_fn_str "
    "activation_fn_kwargs finetuning_scaling_factor dataset_trust_remote_code "
    "hf_hook_name_out hook_point hook_point_head_index hook_layer "
    "hook_point_layer".split()
)
"""Settings that are read here, or that say how the SAE was trained."""


def check_folder(folder: Path) -> dict[str, Any]:
    """The settings of a folder that SAELens wrote, checked together with the types of its weights.

    Raises `FeatureError` for what SAELens would take for something else, or leave out.
    """
    path = folder / "cfg.json"
    config = read_object(path, FeatureError)
    weights = folder / "sae_weights.safetensors"
    try:
        with safe_open(str(weights), "pt") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FeatureError(f"{weights} cannot be read: {error}") from error
    # SAELens casts: the real part of a complex weight, or what was never dequantised.
    for name, dtype in types.items():
        if dtype not in _FLOATS:
            raise FeatureError(f"{weights}: {name} is {dtype}, expected one of {sorted(_FLOATS)}")
    if config.get("finetuning_scaling_factor") and "scaling_factor" not in types:
        raise FeatureError(f"{path}: finetuning_scaling_factor, but no scaling_factor in {weights}")
    _check_config(config, path)
    return config


def _check_config(config: dict[str, Any], path: Path) -> None:
    """`FeatureError` for settings that are missing, of another architecture, or not computed."""
    from sae_lens.registry import SAE_CLASS_REGISTRY

    metadata, arguments = config.get("metadata", {}), config.get("activation_fn_kwargs") or {}
    for name, value in (("metadata", metadata), ("activation_fn_kwargs", arguments)):
        if not isinstance(value, dict):
            raise FeatureError(f"{path}: {name} is {value!r:.80}, expected an object")
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version")
    if metadata and (not version or str(version).partition(".")[0] in _BEFORE_METADATA):
        raise FeatureError(
            f"{path}: metadata with sae_lens_version {version!r:.80}, which SAELens ignores"
        )
    architecture = config.get("architecture", "standard")
    activation = config.get("activation_fn", config.get("activation_fn_str"))
    if activation == "topk" and not metadata:
        architecture = "topk"
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise FeatureError(
            f"{path}: architecture {architecture!r:.80}; supported are {', '.join(ARCHITECTURES)}"
        )
    for function in (activation, metadata.get("activation_fn"), metadata.get("activation_fn_str")):
        if function not in (None, "relu", "topk" if architecture == "topk" else "relu"):
            raise FeatureError(f"{path}: activation_fn {function!r:.80} of an SAE {architecture!r}")
    own = {field.name for field in fields(SAE_CLASS_REGISTRY[architecture][1])}
    others = {
        field.name: name
        for name, (_, kind) in SAE_CLASS_REGISTRY.items()
        for field in fields(kind)
        if field.name not in own
    }
    foreign = [name for name in others if config.get(name)]
    if foreign:
        raise FeatureError(f"{path}: {', '.join(foreign)}: no setting of an SAE {architecture!r}")
    _check_places(config, own - {"metadata", "device", "dtype"} | {"architecture"}, path)
    # Before version 6 only these were always written; after it a default would be a guess.
    needed = {"d_in", "d_sae", "k"} | (
        {"apply_b_dec_to_input", "normalize_activations"} if metadata else set()
    )
    given = config.keys() | (set() if metadata else arguments.keys())
    missing = sorted((needed & own) - given)
    if missing:
        raise FeatureError(f"{path}: {', '.join(missing)} missing")
    unknown = sorted({*config, *metadata} - own - _OF_TRAINING)
    if unknown:
        log.warning("%s: settings that change nothing here: %s", path, ", ".join(unknown))


def _check_places(config: dict[str, Any], at_the_top: Set[str], path: Path) -> None:
    """`FeatureError` for a setting that stands in two places and differs, or in the wrong one."""
    metadata, arguments = config.get("metadata", {}), config.get("activation_fn_kwargs") or {}
    # Before version 6, k stood among the arguments alone.
    elsewhere = FED - config.keys() | ({"k"} - config.keys() if not metadata else set())
    for place, given in (("metadata", metadata), ("activation_fn_kwargs", arguments)):
        for name in sorted(given.keys() & (FED | at_the_top) - elsewhere):
            if given[name] != config.get(name):
                raise FeatureError(
                    f"{path}: {name} is {given[name]!r:.80} in {place}, and "
                    f"{config.get(name)!r:.80} beside it"
                )


def check_settings(sae: Any, source: str) -> None:
    """`FeatureError` for a setting of another type than SAELens declares, or sizes that are none.

    SAELens keeps whatever cfg.json holds: "false" would be true. And for what is not computed here:
    other architectures, normalisation that is not folded, one head or some positions alone.
    """
    from sae_lens import TrainingSAE

    settings = sae.cfg
    architecture = settings.architecture()
    if isinstance(sae, TrainingSAE) or architecture not in ARCHITECTURES:
        raise FeatureError(
            f"{source}: a {type(sae).__name__}; supported are SAEs saved for inference "
            f"(save_inference_model), {', '.join(ARCHITECTURES)}"
        )
    if settings.normalize_activations != "none":
        raise FeatureError(
            f"{source}: expects activations normalised by {settings.normalize_activations!r:.80}; "
            "fold the scale into its weights (sae.fold_activation_norm_scaling_factor) and save it "
            "again"
        )
    hints = get_type_hints(type(settings))
    for name, value in vars(settings).items():
        kind = hints.get(name)
        if kind is float and type(value) is int:
            continue
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise FeatureError(f"{source}: {name} is {value!r:.80}, not one of {get_args(kind)}")
        if kind in (bool, int, float, str) and type(value) is not kind:
            raise FeatureError(f"{source}: {name} is {value!r:.80}, expected {kind.__name__}")
    sizes = {"d_in": None, "d_sae": None, "k": settings.d_sae}
    for name, most in sizes.items():
        size = getattr(settings, name, 1)
        if size < 1 or (most and size > most):
            raise FeatureError(f"{source}: {name} is {size}")
    _check_metadata(settings.metadata, source)


def _check_metadata(metadata: Any, source: str) -> None:
    """`FeatureError` for how the SAE was fed in training, where that is not done here."""
    kinds = {
        "hook_name": str, "model_name": str, "model_class_name": str, "prepend_bos": bool,
        "model_from_pretrained_kwargs": dict, CENTRED: bool,
    }  # fmt: skip
    for name, kind in kinds.items():
        if not isinstance(getattr(metadata, name), kind | None):
            value = getattr(metadata, name)
            raise FeatureError(f"{source}: {name} is {value!r:.80}, expected {kind.__name__}")
    if metadata.model_class_name not in (None, "HookedTransformer", "AutoModelForCausalLM"):
        raise FeatureError(f"{source}: model_class_name {metadata.model_class_name!r} is unknown")
    if not _everywhere(metadata.seqpos_slice):
        raise FeatureError(
            f"{source}: seqpos_slice {metadata.seqpos_slice!r:.80}: all positions are read here"
        )
    for name in ("hook_head_index", "hook_head_index_out"):
        if getattr(metadata, name) is not None:
            raise FeatureError(
                f"{source}: {name} {getattr(metadata, name)!r:.80}: single heads are not read"
            )
    if metadata.hook_name_out not in (None, metadata.hook_name):
        raise FeatureError(
            f"{source}: hook_name_out {metadata.hook_name_out!r:.80}: a transcoder is no SAE"
        )
    given = metadata.model_from_pretrained_kwargs or {}
    for name in _OTHER_STREAM:
        if getattr(metadata, name):
            raise FeatureError(f"{source}: {name} belongs into model_from_pretrained_kwargs")
    for name in (CENTRED, *_OTHER_STREAM):
        if not isinstance(given.get(name), bool | None):
            raise FeatureError(f"{source}: {name} is {given[name]!r:.80}, expected true or false")
    known = {CENTRED, *_OTHER_STREAM, *_SAME_STREAM, *CHECKPOINT}
    unknown = sorted(str(name) for name in given.keys() - known)
    if unknown:
        raise FeatureError(
            f"{source}: model_from_pretrained_kwargs has {', '.join(unknown)}, and whether that "
            "changes what the SAE reads is not known; take it out of cfg.json if it does not"
        )
    if None not in (metadata[CENTRED], given.get(CENTRED)) and metadata[CENTRED] != given[CENTRED]:
        raise FeatureError(f"{source}: {CENTRED} is both true and false")


def _everywhere(positions: Any) -> bool:
    """Whether a `seqpos_slice` leaves no position out."""
    try:
        return slice(*(positions or [None])).indices(2**20) == (0, 2**20, 1)
    except TypeError:
        return False


def reads_centred(sae: Any) -> bool:
    """Whether the SAE was trained on a model whose `center_writing_weights` was on.

    Such a model's residual stream has mean 0 over its width, and so has what its MLPs add; z has
    not, since it is read before the weights that write.
    """
    metadata = sae.cfg.metadata
    given = metadata.model_from_pretrained_kwargs or {}
    if sae.cfg.reshape_activations == "hook_z" or str(metadata.hook_name).endswith("hook_z"):
        return False
    return bool(given.get(CENTRED) or metadata[CENTRED])


def heads_differ(sae: Any) -> list[str]:
    """Names of the settings by which `hook_z` of the model it was trained on is another."""
    given = sae.cfg.metadata.model_from_pretrained_kwargs or {}
    return [name for name in _OTHER_STREAM if given.get(name)]


def stated_features(sae: str | Path) -> int | None:
    """How many features an SAE's folder says it has; None for a release, or a params.npz.

    Raises `FeatureError` for what is none of these.
    """
    if os.path.isdir(sae):
        count = read_object(Path(sae) / "cfg.json", FeatureError).get("d_sae")
        return count if isinstance(count, int) else None
    if ":" not in str(sae) and not (str(sae).endswith(".npz") and os.path.isfile(sae)):
        raise FeatureError("no SAE: give 'release:id' of SAELens, a folder, or a params.npz")
    return None
