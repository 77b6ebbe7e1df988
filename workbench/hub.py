"""Ask the Hugging Face hub, in one short request, whether a model is there for us."""

from pathlib import Path

from workbench.errors import ModelError


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

    if Path(source).is_dir():
        return
    if Path(source).exists():
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
