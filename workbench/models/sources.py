"""Config, tokenizer and weights of a folder or repository: checked first, and none of it run."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
from transformers.utils import cached_file

from workbench import hub
from workbench.errors import ModelError
from workbench.models.limits import require_memory
from workbench.reading import read_object

log = logging.getLogger(__name__)

_TOKENIZER = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json",
              "added_tokens.json", "vocab.json")  # fmt: skip
_FLOATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16
}  # fmt: skip
_COMPILED = {
    "wb_conn": "network.CoNNModel.from_pretrained",
    "conn": "published_networks.load_published",
}
"""Their model_type → what loads them."""
_LAYER = re.compile(r"(.+?)\.\d+\.")
_OWN_CODE = (
    "is code of its own ({}), which is never run here. Choose a model that transformers itself "
    "implements; or read that code, load the model yourself and pass load(hf_model, tokenizer)."
)


def file_of(source: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a model's folder or repository; None where it has no such file."""
    path = cached_file(
        source,
        name,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)


def read_config(source: str, revision: str | None = None) -> PreTrainedConfig:
    """The config of a folder or repository.

    Raises `ModelError` for one that cannot be reached or read, an adapter, a compiled network, and
    a model that is code of its own or asks for a kernel from the hub.
    """
    hub.require(source)
    if file_of(source, "adapter_config.json", revision):
        raise ModelError(
            f"{source} holds a PEFT adapter, which would be put on a model unseen. Load the model, "
            "put the adapter on it with peft.PeftModel.from_pretrained, and pass load(it, "
            "tokenizer); or merge the adapter and save the model without it."
        )
    _read_objects(source, ("generation_config.json",), revision)
    content = _read_objects(source, ("config.json",), revision).get("config.json", {})
    if loader := _COMPILED.get(str(content.get("model_type"))):
        raise ModelError(
            f"{source} holds a compiled network, which is no language model. Load it with "
            f"workbench.papers.neural_comprehension.{loader}({source!r})"
        )
    _refuse_kernels(source, content)
    code = content.get("auto_map") or {}
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # each family's config raises errors of its own
        if code:
            raise ModelError(f"{source}: the model " + _OWN_CODE.format(code)) from error
        raise ModelError(_incomplete(source, error)) from error
    if code:
        log.warning("%s: its own code (%s) is not run, transformers' own class is", source, code)
    return config


def read_tokenizer(source: str, revision: str | None = None) -> Any:
    """The tokenizer of a folder or repository. Raises `ModelError` as `read_config` does."""
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob("*token*")) and not (folder / "vocab.json").exists():
        raise ModelError(
            f"{source} holds no tokenizer (tokenizer.json, tokenizer_config.json, …). Save the "
            "base model's tokenizer into it, or pass load(model, tokenizer=…)."
        )
    hub.require(source)
    content = _read_objects(source, _TOKENIZER, revision).get("tokenizer_config.json", {})
    if code := content.get("auto_map"):
        name = str(content.get("tokenizer_class"))
        if not any(tokenizer_class_from_name(n) for n in (name, name + "Fast")):
            raise ModelError(f"{source}: the tokenizer " + _OWN_CODE.format(code))
        log.warning("%s: its own code (%s) is not run, transformers' %s is", source, code, name)
    try:
        return AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises Exception itself
        raise ModelError(_incomplete(source, error)) from error


def read_weights(
    source: str,
    config: PreTrainedConfig,
    revision: str | None = None,
    kind: Any = AutoModelForCausalLM,
    **options: Any,
) -> PreTrainedModel:
    """The model of a folder or repository, in evaluation mode; `options` of `from_pretrained`.

    Raises `ModelError` for weights that are damaged, lacking, of another shape, of whole numbers or
    too large for the memory, and for a pickle that holds more than tensors.
    """
    for name, content in _read_objects(source, hub.INDICES, revision).items():
        hub.require_shards(source, name, content)
    stored = _stored(source, revision)
    layers = config.get_text_config().num_hidden_layers
    if stored and layers > len(stored):
        raise ModelError(f"{source}: a config of {layers} layers, but {len(stored)} weights")
    dtype = options.get("dtype", "auto")
    dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if isinstance(dtype, torch.dtype) and not torch.cuda.is_available():
        # Those that stay as they are stored are mapped from the file.
        copied = [n for kind, n in stored.values() if _FLOATS.get(kind, dtype) != dtype]
        require_memory(source, sum(copied) * dtype.itemsize)
    try:
        hf, report = kind.from_pretrained(
            source, revision=revision, trust_remote_code=False, weights_only=True,
            output_loading_info=True, **options,
        )  # fmt: skip
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # pickle, safetensors and each family raise errors of their own
        raise ModelError(f"{source}: its weights cannot be loaded: {_short(error)}") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{source}: {len(missing)} weights are missing ({missing[0]}, …) and would be random"
        )
    # A checkpoint may hold more (a vision tower, say), but nothing more of the same layers.
    lists = {at[1] for name, _ in hf.named_parameters() if (at := _LAYER.match(name))}
    surplus = [
        name
        for name in sorted(report["unexpected_keys"])
        if name.endswith((".weight", ".bias")) and (at := _LAYER.match(name)) and at[1] in lists
    ]
    if surplus:
        raise ModelError(
            f"{source}: {len(surplus)} weights ({surplus[0]}, …) have no place in a "
            f"{type(hf).__name__} of its config and would be left out; correct config.json"
        )
    wrong = [n for n, _ in hf.named_parameters() if n in stored and stored[n][0] not in _FLOATS]
    if wrong and getattr(hf.config, "quantization_config", None) is None:
        raise ModelError(f"{source}: {wrong[0]} holds {stored[wrong[0]][0]}, not floating point")
    return hf.eval()


def _read_objects(source: str, names: tuple[str, ...], revision: str | None) -> dict[str, Any]:
    """The content of each of these JSON files that is there; each an object or a `ModelError`."""
    contents = {}
    for name in names:
        try:
            path = file_of(source, name, revision)
        except OSError as error:
            raise ModelError(_incomplete(source, error)) from error
        if path is not None:
            contents[name] = read_object(path, ModelError)
    return contents


def _refuse_kernels(source: str, content: dict[str, Any]) -> None:
    """transformers would fetch such a kernel from the hub, and run it."""
    for part in (content, *(inner for inner in content.values() if isinstance(inner, dict))):
        for name, value in part.items():
            if name.endswith("_implementation") and "/" in str(value):
                raise ModelError(
                    f"{source}: config.json asks for a kernel from the hub ({name}={value!r}), "
                    "which is code and never run here; remove that line"
                )


def _stored(source: str, revision: str | None) -> dict[str, tuple[str, int]]:
    """name → (dtype as they name it, how many numbers), of a folder's safetensors files."""
    tensors = {}
    folder = Path(source)
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        if not path.is_file():
            raise ModelError(f"{path} is no file")
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - no dict
                    part = file.get_slice(name)
                    tensors[name] = part.get_dtype(), math.prod(part.get_shape())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {_short(error)}") from error
    return tensors


def _incomplete(source: str, error: Exception) -> str:
    return f"{source} is not a complete model folder or repository: {_short(error)}"


def _short(error: Exception) -> str:
    return f"{str(error) or type(error).__name__:.400}"
