"""Whether a model is there for us: looked for here, then asked of the Hugging Face hub, once."""

import math
import os
from pathlib import Path
from typing import Any

from workbench.errors import ModelError
from workbench.paths import EMBEDDED, data_folder
from workbench.reading import read_json


def reachable(timeout: float = 3.0) -> bool:
    """Whether the hub answers at all (False under HF_HUB_OFFLINE=1)."""
    import httpx
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=timeout)
    except httpx.HTTPError:
        return False
    return True


def require(source: str) -> None:
    """Raise `ModelError`, saying what to do, where a model is neither here nor to be had.

    Folders and models in the local cache pass without a request.
    """
    from huggingface_hub import auth_check, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    if os.path.isdir(source):
        return
    if os.path.exists(source):
        raise ModelError(
            f"{source} is a file; give the folder that holds it, with config.json and a tokenizer, "
            "and weights as safetensors (a .gguf file has to be converted)"
        )
    try:
        if isinstance(try_to_load_from_cache(source, "config.json"), str):
            return
    except HFValidationError as error:
        raise ModelError(f"{source} is neither a folder here nor the name of a model") from error
    if not reachable():
        raise ModelError(
            f"{source} cannot be reached: not a folder here, not in the local cache, and the hub "
            "does not answer. Check the name and the network, or pass a local folder."
        )
    try:
        auth_check(source)
    except GatedRepoError as error:
        raise ModelError(
            f"{source} is gated: accept its terms on the hub, then set HF_TOKEN or run "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{source} is not on the hub, or private: check the name and HF_TOKEN."
        ) from error


def require_model(source: str) -> dict[str, Any]:
    """The config.json of an embedded model, a folder or a cached one; {} where the hub has it.

    Loads nothing. Raises `ModelError` as `require`, and for a folder without
    config.json, weights or tokenizer.
    """
    folder = data_folder() / source if source in EMBEDDED else Path(source)
    if not os.path.isdir(folder):
        require(source)
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(source, "config.json")
        return _config(Path(config)) if isinstance(config, str) else {}
    parts = {
        "config.json": ["config.json"],
        "weights": ["*.safetensors", "*.bin"],
        "tokenizer": ["*token*", "vocab.json", "*.model"],
    }
    for name, globs in parts.items():
        if not any(path for pattern in globs for path in folder.glob(pattern)):
            raise ModelError(
                f"{source} is a folder without {name}: no model that can be loaded. Give the one "
                "that holds config.json, the weights as safetensors and the tokenizer"
            )
    return _config(folder / "config.json")


def n_heads(config: dict[str, Any]) -> int | None:
    """Query heads of all layers, as most families' config.json says; None where it does not."""
    text = config.get("text_config", config)
    counts = [text.get(name) for name in ("num_hidden_layers", "num_attention_heads")]
    return math.prod(counts) if all(type(count) is int for count in counts) else None


def _config(path: Path) -> dict[str, Any]:
    content = read_json(path, ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object")
    return content
