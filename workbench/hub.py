"""Models and data sets of the Hugging Face hub: whether they are there for us, asked once."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import DatasetError, ModelError
from workbench.paths import EMBEDDED, data_folder
from workbench.reading import read_object

if TYPE_CHECKING:
    from datasets import Dataset


def reachable(timeout: float = 3.0) -> bool:
    """Whether the hub answers at all (False under HF_HUB_OFFLINE=1)."""
    import httpx2
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    try:
        httpx2.head(constants.ENDPOINT, timeout=timeout)
    except httpx2.HTTPError:
        return False
    return True


def refusal(name: str, kind: Literal["model", "dataset"]) -> str:
    """Why the hub does not give us a model or data set, and what to do; empty where it does."""
    import httpx2
    from huggingface_hub import auth_check, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if not reachable():
        return (
            "cannot be reached: it is not in the local cache, and the hub does not answer. Check "
            "the name, the network and HF_HUB_OFFLINE"
        )
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    try:
        auth_check(name, repo_type=kind)
    except GatedRepoError:
        return (
            f"is gated: read its licence and accept its terms at {page}, then set HF_TOKEN (or run "
            "`hf auth login`) to a token of that account that may read gated repositories"
        )
    except RepositoryNotFoundError:
        return f"is not on the hub, or private: check {page} and HF_TOKEN"
    except httpx2.HTTPError as error:
        return f"is refused by the hub: {_line(error)}"
    return ""


def hub_rows(repository: str, split: str, config: str | None = None) -> "Dataset":
    """Rows of a data set on the hub; code that it brings is not run.

    Raises `DatasetError` saying what to do: the page of a gated set, the known splits and configs.
    """
    import datasets
    import httpx2

    offline = datasets.config.HF_HUB_OFFLINE
    try:
        # Where nothing answers the library would try for 23 s before it looks into its cache.
        datasets.config.HF_HUB_OFFLINE = not reachable()
        return datasets.load_dataset(repository, config, split=split)
    except (datasets.exceptions.DatasetsError, OSError, RuntimeError, ValueError,
            httpx2.HTTPError) as error:  # fmt: skip
        ours = isinstance(error, RuntimeError | ValueError)  # a script, a split, a config
        reason = "" if ours else refusal(repository, "dataset")
        reason = reason or "cannot be read from the hub; no script of its own is run. Change that"
        raise DatasetError(
            f"{repository} {reason}, or give a local file. ({_line(error)})"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def require(source: str) -> None:
    """Raise `ModelError`, saying what to do, where a model is neither here nor to be had.

    Folders and models in the local cache pass without a request.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

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
    if reason := refusal(source, "model"):
        raise ModelError(f"{source} {reason}, or pass a local folder.")


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
        return read_object(config, ModelError) if isinstance(config, str) else {}
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
    return read_object(folder / "config.json", ModelError)


def n_heads(config: dict[str, Any]) -> int | None:
    """Query heads of all layers, as most families' config.json says; None where it does not."""
    text = config.get("text_config", config)
    counts = [text.get(name) for name in ("num_hidden_layers", "num_attention_heads")]
    return math.prod(counts) if all(type(count) is int for count in counts) else None


def _line(error: Exception) -> str:
    return f"{' '.join(str(error).split()):.300}"
