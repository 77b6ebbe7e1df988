"""GGUF files: checked, read once by transformers, kept as a plain folder that loads in seconds."""

import contextlib
import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers.pre_tokenizers import Digits, Sequence
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

from workbench.errors import ModelError, WorkbenchError, WriteError
from workbench.hashing import checksum, file_digest
from workbench.models.anatomy import Anatomy, anatomy_of
from workbench.models.forward_state import version
from workbench.models.limits import require_memory
from workbench.paths import cache_folder
from workbench.reading import read_object
from workbench.writing import alone, whole, write_json

log = logging.getLogger(__name__)

_FILE = "model.gguf"
_NOTE = "workbench.json"
"""Of a kept folder: its files by their checksums, and what of the model is not in them."""
_PRE = "tokenizer.ggml.pre"
_NEEDED = ("block_count", "embedding_length", "attention.head_count")
# These tokenizers split at every digit, then as GPT-2's does (llama.cpp, llama-vocab.cpp);
# transformers leaves out the first step.
_DIGITS = "smollm starcoder refact command-r codeshell exaone minerva-7b".split()
_AS_GPT2 = "gpt-2 phi-2 mpt olmo jais trillion granite-docling".split()
_USUAL = ("blk.", "token_embd.", "output")


def plain_folder(path: Path, anatomy: Anatomy | None = None) -> Path:
    """The folder of a GGUF file's model as float32 safetensors, which plain transformers loads.

    Weights are those that transformers reads from the file, bit for bit; tokenizer and template are
    the file's. Made the first time, by one process while others wait, and kept in `cache_folder()`
    by the content of the file and the version of transformers; made again where it is damaged.

    Raises `ModelError` for a file that is damaged or cut off, of a family (without `anatomy`) or
    quantisation that cannot be read, without a tokenizer, or too large for the memory or disk.
    """
    folder = cache_folder() / f"gguf-{file_digest(path, 16)}-transformers-{version('transformers')}"
    try:
        if (kept := _kept(folder)) is None:
            with alone(folder, path.name), tempfile.TemporaryDirectory() as apart:
                if (kept := _kept(folder)) is None:
                    if folder.exists():
                        log.warning("%s is damaged; it is made again", folder)
                    # What lies beside it (adapters, code, other templates) is not asked for.
                    (Path(apart) / _FILE).symlink_to(path.absolute())
                    kept = _convert(path, apart, folder, anatomy)
    except WriteError as error:
        raise ModelError(f"{error}. WORKBENCH_CACHE names the folder of the cache") from error
    except (WorkbenchError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # struct, NumPy, gguf, tokenizers: each has errors of its own
        raise ModelError(
            f"{path} cannot be read: cut off, damaged, or of a kind that transformers does not "
            f"read ({type(error).__name__}: {error!s:.300})"
        ) from error
    if kept["left_out"]:
        log.warning(
            "%s: transformers does not read its %.300s, and does as the family usually does; where "
            "the model differs there, its replies do. Its own repository has all of it",
            path, ", ".join(kept["left_out"]),
        )  # fmt: skip
    return folder


def _kept(folder: Path) -> dict[str, Any] | None:
    """What `_convert` noted, where every file is as it was written."""
    with contextlib.suppress(ModelError, OSError, ValueError, TypeError, LookupError):
        kept = read_object(folder / _NOTE, ModelError)
        if all(_sum(folder / name) == number for name, number in kept["files"].items()):
            return kept
    return None


def _sum(path: Path) -> int:
    return checksum(torch.from_numpy(np.memmap(path, mode="c")))


def _convert(path: Path, apart: str, folder: Path, anatomy: Anatomy | None) -> dict[str, Any]:
    metadata, tensors = _contents(path)
    config = AutoConfig.from_pretrained(apart, gguf_file=_FILE, trust_remote_code=False)
    anatomy or anatomy_of(config, str(path))
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
    asked = sum(weight.numel() for weight in empty.parameters())
    held = sum(math.prod(map(int, tensor.shape)) for tensor in tensors)
    if asked > held:
        raise ValueError(f"a config of {asked:,} numbers, but weights of {held:,}")
    require_memory(str(path), 4 * held)
    log.info("%s: converted once, to %.1f GB in %s", path, 4e-9 * asked, folder)
    tokenizer = AutoTokenizer.from_pretrained(apart, gguf_file=_FILE, trust_remote_code=False)
    left_out = _left_out(config, metadata, tokenizer.backend_tokenizer)
    if held > asked:
        left_out += [t.name for t in tensors if not t.name.startswith(_USUAL)] or ["layers in part"]
    hf, report = AutoModelForCausalLM.from_pretrained(
        apart, gguf_file=_FILE, config=config, quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32, output_loading_info=True, trust_remote_code=False,
    )  # fmt: skip
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are missing: {missing[0]}, …")
    with whole(folder) as partial:
        # The model that was read refuses to be saved; one of its class and config does not.
        empty.save_pretrained(partial, state_dict=hf.state_dict())
        tokenizer.save_pretrained(partial)
        again = AutoTokenizer.from_pretrained(partial, trust_remote_code=False)
        if _split(again) != _split(tokenizer):  # some families are given their own
            left_out.append(_PRE)
        kept = {"left_out": left_out, "files": {f.name: _sum(f) for f in partial.iterdir()}}
        write_json(partial / _NOTE, kept)
    return kept


def _contents(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """(Metadata, lists of texts as their lengths; tensors), each size checked with the file's."""
    from gguf import GGUFReader
    from transformers.integrations.gguf import read_gguf_metadata

    # Ends where the file does; the other reader fills memory up to the length that is claimed.
    metadata, _ = read_gguf_metadata(str(path))
    family = metadata["general.architecture"]
    if lacking := [k for k in _NEEDED if not metadata.get(f"{family}.{k}")]:
        raise ValueError(f"its metadata have no {family}.{lacking[0]}")
    if not metadata.get("tokenizer.ggml.tokens"):
        raise ModelError(f"{path} holds no tokenizer; take the model's own repository")
    tensors = GGUFReader(path).tensors
    if (layers := metadata[f"{family}.block_count"]) > len(tensors):
        raise ValueError(f"{layers} layers, but {len(tensors)} weights")
    return metadata, tensors


def _left_out(config: Any, metadata: dict[str, Any], backend: Any) -> list[str]:
    """Names of metadata that transformers does not read; splits at digits are put in here."""
    from transformers.integrations import GGUF_CONFIG_MAPPING

    family, width = metadata["general.architecture"], getattr(config, "head_dim", None)
    known = GGUF_CONFIG_MAPPING.get(family, metadata)
    keys = {k: k.removeprefix(f"{family}.") for k, v in metadata.items() if v != width}
    names = [k for k, rest in keys.items() if rest not in {*known, k}]
    # A sequence is a split that transformers knows.
    if metadata.get("tokenizer.ggml.model") == "gpt2" and not isinstance(
        backend.pre_tokenizer, Sequence
    ):
        if metadata.get(_PRE) in _DIGITS:
            backend.pre_tokenizer = Sequence([Digits(True), backend.pre_tokenizer])
        elif metadata.get(_PRE) not in _AS_GPT2:
            names.append(_PRE)
    return names


def _split(tokenizer: Any) -> Any:
    return tokenizer.backend_tokenizer.pre_tokenizer.__getstate__()
