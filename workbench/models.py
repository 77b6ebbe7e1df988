"""Load a causal LM as an nnsight model with one anatomy for every family."""

import copy
import hashlib
import logging
import threading
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from nnsight import TransformersModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import cached_file

from workbench import hub
from workbench.anatomy import Anatomy, anatomy_of, check_anatomy, kv_heads, projection_sizes
from workbench.errors import ModelError
from workbench.paths import EMBEDDED, data_folder

log = logging.getLogger(__name__)

SIDECAR = "workbench_biases.safetensors"
"""File beside a checkpoint with folded biases that its family has no slot for."""


@dataclass(frozen=True)
class InFlight:
    """The batch now in the model, for steering that differs by prompt or by token.

    `prompt`: int64 `[row]`, each row's place in the caller's list of `total` prompts. `start`:
    int64 `[row]`, the column of each row's first response token in the batch, where it is known.
    """

    prompt: torch.Tensor
    total: int
    start: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Hooked:
    """What steers through hooks now. `per_prompt`: one alpha a prompt. `thread`: the background
    thread that steers, and it alone; None for the main thread, which steers for all."""

    label: str
    per_prompt: bool
    thread: int | None

    @property
    def here(self) -> bool:
        """Whether it acts in the thread that asks."""
        return self.thread in (None, threading.get_ident())


class Model(TransformersModel):
    """An nnsight model with standard names: `model.layers[i].attn.o_proj`, `.mlp`.

    Sizes: `n_layers`, `n_heads` (query heads), `n_kv_heads`, `d_head` (width of one head at
    `o_proj`'s input, not hidden/heads), `d_model` (residual stream), `context_length` (tokens, None
    where the family has no limit). `hf` is the plain transformers model underneath, `tokenizer` a
    left-padding copy of its tokenizer. `in_flight` is the batch this thread now runs, `hooks` all
    that steers through hooks now, `folds` the folds in place, `not_for_export` why
    `save_checkpoint` refuses now. `lock` is held while our own calls run the model, batch by batch,
    so that a widget and a cell do not run it at once.
    """

    def __init__(self, hf: PreTrainedModel, tokenizer: Any, anatomy: Anatomy, name: str) -> None:
        # nnsight switches the tokenizer it is given to left padding; the caller's stays as it was.
        super().__init__(
            hf,
            task="text-generation",
            tokenizer=copy.deepcopy(tokenizer),
            rename=anatomy.rename,
        )
        config = hf.config.get_text_config()
        self.anatomy = anatomy
        self.name = name
        self.n_layers = len(hf.get_submodule(anatomy.layers))
        self.n_heads = config.num_attention_heads
        self.n_kv_heads = kv_heads(config)
        self.d_model = config.hidden_size
        self.d_head = projection_sizes(self.o_proj(0))[0] // self.n_heads
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self.lock = threading.RLock()
        self.hooks: list[Hooked] = []
        self._flying = threading.local()
        self.not_for_export: list[str] = []
        self.folds: list[object] = []

    @property
    def in_flight(self) -> InFlight | None:
        """The batch this thread now runs."""
        return getattr(self._flying, "batch", None)

    @in_flight.setter
    def in_flight(self, batch: InFlight | None) -> None:
        self._flying.batch = batch

    @property
    def hooked(self) -> list[str]:
        """Names of what steers through hooks in this thread."""
        return [hook.label for hook in self.hooks if hook.here]

    @property
    def per_prompt(self) -> bool:
        """Whether this thread is steered with one alpha per prompt."""
        return any(hook.per_prompt for hook in self.hooks if hook.here)

    @property
    def hf(self) -> PreTrainedModel:
        """The plain transformers model underneath, as nnsight itself calls it."""
        return self._module

    def layer(self, index: int) -> torch.nn.Module:
        """The plain module of one transformer block."""
        return self.hf.get_submodule(self.anatomy.layers)[index]

    def o_proj(self, index: int) -> torch.nn.Module:
        """The plain attention output projection of one layer."""
        return self.layer(index).get_submodule(f"{self.anatomy.attn}.{self.anatomy.o_proj}")

    def resid(self, index: int) -> torch.nn.Module:
        """The plain module of one layer whose output enters the residual stream last."""
        return self.layer(index).get_submodule(self.anatomy.resid or self.anatomy.mlp)

    @property
    def input_device(self) -> torch.device:
        """Where token ids go: the embedding's device, also when the layers are spread out."""
        return self.hf.get_input_embeddings().weight.device

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes a head direction depends on."""
        return {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "d_head": self.d_head,
            "d_model": self.d_model,
        }

    def clone(self, name: str) -> "Model":
        """An independent copy with its own weights, say to fine-tune. Undo folds before."""
        # Not deepcopy: nnsight binds each module's forward to the instance it wraps.
        hf = type(self.hf)(copy.deepcopy(self.hf.config)).to(self.hf.device, self.hf.dtype).eval()
        hf.load_state_dict(self.hf.state_dict())
        # Rotary frequencies are in no state dict, and stay float32 in a half-precision model.
        for path, buffer in self.hf.named_buffers():
            owner, _, leaf = path.rpartition(".")
            setattr(hf.get_submodule(owner), leaf, buffer.clone())
        hf.generation_config = copy.deepcopy(self.hf.generation_config)
        return Model(hf, self.tokenizer, self.anatomy, name)

    def fingerprint(self) -> str:
        """16 hex digits that change with the architecture or (almost surely) any weight.

        Hashes name, shape and up to 256 evenly strided values of every parameter, so that it
        stays cheap on large models; a folded direction or a training step changes it, and so does
        steering through hooks.
        """
        digest = hashlib.sha256("|".join([type(self.hf).__name__, *self.hooked]).encode())
        # Not state_dict(): quantised layers repack their weights when asked for it.
        for name, tensor in chain(self.hf.named_parameters(), self.hf.named_buffers()):
            if name.endswith("inv_freq"):  # from the config; some families rewrite it as they run
                continue
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            if tensor.is_meta:
                continue
            flat = tensor.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 256)].to("cpu", torch.float32)
            digest.update(sample.contiguous().numpy().tobytes())
        for name, module in self.hf.named_modules():
            if hasattr(module, "get_base_layer"):
                state = ("disable_adapters", "active_adapters", "merged_adapters", "scaling")
                digest.update(repr([name, *(getattr(module, s, None) for s in state)]).encode())
        return digest.hexdigest()[:16]


def load(
    model: str | Path | PreTrainedModel | torch.nn.Module,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    anatomy: Anatomy | None = None,
    revision: str | None = None,
) -> Model:
    """Load a hub id, a folder, or an embedded model (`"tiny"`, `"sums"`); or wrap a live model.

    A live model comes with its tokenizer; it may be quantised, or wrapped by PEFT with adapters
    that live in its layers (LoRA and its relatives). `device=None` keeps a live model where it is
    and puts a loaded one on the GPU where there is one; `"auto"` spreads a loaded one over all
    GPUs. Dropout is switched off.
    Remote code in model repositories is never executed.

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
        source = str(data_folder() / str(model)) if str(model) in EMBEDDED else str(model)
        name = str(model)
        config = _read(AutoConfig, source, revision)
        anatomy = anatomy or anatomy_of(config, name)
        tokenizer = tokenizer or _read_tokenizer(source, revision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        spread = "auto" if device == "auto" else None
        hf = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, revision=revision, device_map=spread
        )
        restore_sidecar(hf, source, revision)
    if device not in (None, "auto"):
        hf = hf.to(device)
    if hf.training:
        log.info("%s was in training mode; switched to evaluation", name)
    hf.eval()
    if tokenizer.pad_token is None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
    check_anatomy(hf, anatomy, name)
    return Model(hf, tokenizer, anatomy, name)


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

    Raises `ModelError` where the config speaks of such a file and it is not there.
    """
    if not getattr(hf.config, "workbench_sidecar", False):
        return
    try:
        path = cached_file(str(source), SIDECAR, revision=revision)
    except OSError as error:
        raise ModelError(f"{source}: {SIDECAR} is missing; without it the shift is lost") from error
    for name, bias in load_file(path).items():
        module = hf.get_submodule(name)
        module.bias = torch.nn.Parameter(bias.to(module.weight.device), requires_grad=False)
    log.info("%s: biases restored from %s", source, SIDECAR)


def require_access(source: str) -> None:
    """Raise `ModelError` now where `load(source)` would fail for access, tokenizer or family."""
    if source not in EMBEDDED:
        anatomy_of(_read(AutoConfig, source, None), source)
        _read_tokenizer(source, None)


def _read(auto: Any, source: str, revision: str | None) -> Any:
    hub.require(source)
    try:
        return auto.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{source} is not a complete model folder or repository: {error}"
        ) from error


def _read_tokenizer(source: str, revision: str | None) -> Any:
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob("*token*")) and not (folder / "vocab.json").exists():
        raise ModelError(
            f"{source} holds no tokenizer (tokenizer.json, tokenizer_config.json, …). Save the "
            "base model's tokenizer into it, or pass load(model, tokenizer=…)."
        )
    return _read(AutoTokenizer, source, revision)
