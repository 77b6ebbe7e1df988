"""load(): a hub id, a folder, a GGUF file, a name or a live model as one `Model`."""

import copy
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from workbench.errors import ModelError
from workbench.hub import SMALL, place_of, require
from workbench.models.anatomy import Anatomy, anatomy_of
from workbench.models.anatomy_check import check_anatomy
from workbench.models.gguf_files import plain_folder
from workbench.models.model import Model
from workbench.models.sources import file_of, read_config, read_tokenizer, read_weights
from workbench.paths import EMBEDDED, data_folder

log = logging.getLogger(__name__)

SIDECAR = "workbench_biases.safetensors"
"""File beside a checkpoint with folded biases that its family has no slot for."""


def load(
    model: str | Path | PreTrainedModel | torch.nn.Module,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    anatomy: Anatomy | None = None,
    revision: str | None = None,
) -> Model:
    """Load a hub id, a folder, a GGUF file or a model by its name; or wrap a live model.

    >>> model = wb.load("meta-llama/Llama-3.1-8B-Instruct", dtype="bfloat16")
    >>> model = wb.load(hf_model, tokenizer)

    Names: the embedded models (`"tiny"`, `"sums"`, …), and `"smollm2"`, SmolLM2-135M-Instruct in
    float32, from where `hub.place_of` finds it. A GGUF file is converted once
    (`gguf_files.plain_folder`), to float32.
    A live model comes with its tokenizer; it may be quantised, or wrapped by PEFT with adapters
    that live in its layers (LoRA and its relatives). `device=None` keeps a live model where it is
    and puts a loaded one on the GPU where there is one; `"auto"` spreads a loaded one over all
    GPUs. Dropout is switched off. Remote code in model repositories is never executed.

    Raises `ModelError` before any weight is read when the repository cannot be reached, the
    tokenizer is missing, or the family is unknown (pass `anatomy=Anatomy(...)` for such a one);
    and right after loading when the anatomy does not hold in a real forward pass.
    """
    if isinstance(model, torch.nn.Module):
        if tokenizer is None:
            raise ModelError("a live model needs its tokenizer: load(model, tokenizer)")
        hf = _unwrapped(model)
        name = hf.config.name_or_path or type(hf).__name__
        anatomy = anatomy or anatomy_of(hf.config, name)
    else:
        name = str(model)
        source = plain_source(name, anatomy)
        config = read_config(source, revision)
        anatomy = anatomy or anatomy_of(config, name)
        tokenizer = tokenizer or read_tokenizer(source, revision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        spread = "auto" if device == "auto" else None
        if name in SMALL and dtype == "auto":
            # The hub keeps bfloat16, the package none: one name, one model.
            dtype = "float32"
        hf = read_weights(source, config, revision, dtype=dtype, device_map=spread)
        restore_sidecar(hf, source, revision)
    if device not in (None, "auto"):
        hf = hf.to(device)
    if hf.training:
        log.info("%s was in training mode; switched to evaluation", name)
    hf.eval()
    if tokenizer.pad_token is None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
    refused = check_anatomy(hf, anatomy, name)
    wrapped = Model(hf, tokenizer, anatomy, name)
    wrapped.refused_sites = refused
    return wrapped


def load_at_hand() -> tuple[Model, str]:
    """SmolLM2 where it is at hand, else the embedded `"tiny"`; and, in words, where it is from.

    Nothing is downloaded; the words for `"tiny"` say how to get the real one, which is loaded in
    float32. Raises `ModelError` where a folder in `WORKBENCH_SMOLLM2` is not such a model.
    """
    try:
        source, where = place_of("smollm2", download=False)
    except ModelError as error:
        if os.environ.get("WORKBENCH_SMOLLM2"):
            raise
        return load("tiny"), f"tiny, which is embedded and a toy. No real model: {error}"
    model = load(source, dtype="float32")
    model.name = "smollm2"
    return model, f"smollm2, a real model, from {where}"


def plain_source(name: str, anatomy: Anatomy | None = None) -> str:
    """The folder or hub id from which plain transformers loads what `load(name)` does."""
    if name in EMBEDDED:
        return str(data_folder() / name)
    if name in SMALL:
        name, where = place_of(name)
        log.info("taken from %s", where)
    if not os.path.isfile(name):
        return name
    require(name)
    return str(plain_folder(Path(name), anatomy))


def _unwrapped(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model itself; PEFT's wrapper holds one with adapters in its layers."""
    if isinstance(model, PreTrainedModel):
        return model
    if not hasattr(model, "get_base_model") or not hasattr(model, "active_peft_config"):
        raise ModelError(f"{type(model).__name__} is neither a transformers model nor a PEFT one")
    if model.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"a PEFT adapter of type {model.active_peft_config.peft_type} wraps the whole forward "
            "with virtual tokens, which capture and steering would not see; adapters inside the "
            "layers (LoRA and its relatives) work."
        )
    return model.get_base_model()


def restore_sidecar(hf: PreTrainedModel, source: str | Path, revision: str | None = None) -> None:
    """Put back the biases that `save_checkpoint(..., sidecar=True)` wrote beside the weights.

    Raises `ModelError` where the config speaks of such a file and it is not there, or damaged.
    """
    if not getattr(hf.config, "workbench_sidecar", False):
        return
    path = file_of(str(source), SIDECAR, revision)
    if path is None:
        raise ModelError(f"{source}: {SIDECAR} is missing; without it the shift is lost")
    try:
        biases = load_file(path)
        for name, bias in biases.items():
            weight = hf.get_submodule(name).weight
            # A Conv1D of GPT-2 keeps its outputs in the last axis, a Linear in the first.
            if bias.ndim != 1 or len(bias) not in weight.shape or not bias.isfinite().all():
                raise ValueError(f"{name}: {tuple(bias.shape)} finite values were expected")
    except (OSError, SafetensorError, AttributeError, ValueError) as error:
        raise ModelError(f"{path} is damaged or of another model: {error}") from error
    for name, bias in biases.items():
        module = hf.get_submodule(name)
        module.bias = torch.nn.Parameter(bias.to(module.weight.device), requires_grad=False)
    log.info("%s: biases restored from %s", source, SIDECAR)


def require_access(source: str) -> None:
    """Raise `ModelError` now where `load(source)` would fail for access, tokenizer or family."""
    if source not in EMBEDDED:
        source = plain_source(source)
        anatomy_of(read_config(source), source)
        read_tokenizer(source)
