"""Load a causal LM as an nnsight model with one anatomy for every family."""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnsight import TransformersModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from workbench import hub
from workbench.errors import ModelError
from workbench.paths import data_folder


@dataclass(frozen=True)
class Anatomy:
    """Where a family keeps its parts, as attribute paths.

    `layers` starts at the causal LM; the others start at one layer. `o_proj` is the attention's
    output projection: its input is the concatenation of all query heads.
    """

    layers: str
    attn: str
    o_proj: str
    mlp: str = "mlp"

    @property
    def rename(self) -> dict[str, str]:
        """nnsight aliases that give every family the names `layers[i].attn.o_proj`, `.mlp`."""
        names = {self.layers: "layers"}
        if self.attn != "attn":
            names[self.attn] = "attn"
        if self.o_proj != "o_proj":
            names[f"{self.attn}.{self.o_proj}"] = f"{self.attn}.o_proj"
        if self.mlp != "mlp":
            names[self.mlp] = "mlp"
        return names


_LLAMA = Anatomy("model.layers", "self_attn", "o_proj")
ANATOMIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "gemma2": _LLAMA,
    "gpt2": Anatomy("transformer.h", "attn", "c_proj"),
}


class Model(TransformersModel):
    """An nnsight model with standard names: `model.layers[i].attn.o_proj`, `.mlp`.

    Sizes: `n_layers`, `n_heads` (query heads), `n_kv_heads`, `d_head` (width of one head at
    `o_proj`'s input, not hidden/heads), `d_model` (residual stream). `hf` is the plain
    transformers model underneath, `tokenizer` a left-padding copy of its tokenizer.
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
        self.n_kv_heads = getattr(config, "num_key_value_heads", None) or self.n_heads
        self.d_model = config.hidden_size
        self.d_head = projection_sizes(self.o_proj(0))[0] // self.n_heads

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
        return Model(hf, self.tokenizer, self.anatomy, name)

    def fingerprint(self) -> str:
        """16 hex digits that change with the architecture or (almost surely) any weight.

        Hashes name, shape and up to 256 evenly strided values of every parameter, so that it
        stays cheap on large models; a folded direction or a training step changes it.
        """
        digest = hashlib.sha256(type(self.hf).__name__.encode())
        for name, tensor in self.hf.state_dict().items():
            flat = tensor.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 256)].to("cpu", torch.float32)
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def projection_sizes(module: torch.nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear projection; GPT-2's Conv1D stores its weight transposed."""
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return module.weight.shape[0], module.weight.shape[1]


def load(
    model: str | Path | PreTrainedModel,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    anatomy: Anatomy | None = None,
    revision: str | None = None,
) -> Model:
    """Load a hub id, a folder, `"tiny"` (embedded), or wrap a live model and its tokenizer.

    `device=None` keeps a live model where it is and puts a loaded one on the GPU where there is
    one. Remote code in model repositories is never executed.

    Raises `ModelError` before any weight is read when the repository cannot be reached, the
    tokenizer is missing, or the family is unknown (pass `anatomy=Anatomy(...)` for such a one);
    and right after loading when the anatomy does not hold in a real forward pass.
    """
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise ModelError("a live model needs its tokenizer: load(model, tokenizer)")
        hf, name = model, model.config.name_or_path or type(model).__name__
        anatomy = anatomy or _anatomy_of(hf.config, name)
    else:
        source = str(data_folder() / "tiny") if str(model) == "tiny" else str(model)
        name = str(model)
        config = _read(AutoConfig, source, revision)
        anatomy = anatomy or _anatomy_of(config, name)
        tokenizer = tokenizer or _read_tokenizer(source, revision)
        hf = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, revision=revision).eval()
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device is not None:
        hf = hf.to(device)
    if tokenizer.pad_token is None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token
    _check_anatomy(hf, anatomy, name)
    return Model(hf, tokenizer, anatomy, name)


def require_access(source: str) -> None:
    """Raise `ModelError` now where `load(source)` would fail for access, tokenizer or family."""
    if source != "tiny":
        _anatomy_of(_read(AutoConfig, source, None), source)
        _read_tokenizer(source, None)


def _anatomy_of(config: Any, name: str) -> Anatomy:
    if config.model_type not in ANATOMIES:
        raise ModelError(
            f"{name}: family {config.model_type!r} is unknown. Known: {', '.join(ANATOMIES)}. "
            "For another, pass load(..., anatomy=Anatomy(layers=…, attn=…, o_proj=…))."
        )
    return ANATOMIES[config.model_type]


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


@torch.inference_mode()
def _check_anatomy(hf: PreTrainedModel, anatomy: Anatomy, name: str) -> None:
    """One two-token forward: each named part exists and sees what it should."""
    try:
        layer = hf.get_submodule(anatomy.layers)[0]
        parts = {
            "o_proj": layer.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}"),
            "mlp": layer.get_submodule(anatomy.mlp),
        }
    except (AttributeError, TypeError, IndexError) as error:
        raise ModelError(f"{name}: {anatomy} does not hold: {error}") from error
    config = hf.config.get_text_config()
    width_in, width_out = projection_sizes(parts["o_proj"])
    seen: dict[str, torch.Size] = {}
    hooks = [
        parts["o_proj"].register_forward_pre_hook(
            lambda _, args: seen.__setitem__("o_proj", args[0].shape)
        ),
        parts["mlp"].register_forward_hook(
            lambda _, __, out: seen.__setitem__("mlp", _first(out).shape)
        ),
        layer.register_forward_hook(
            lambda _, __, out: seen.__setitem__("layer", _first(out).shape)
        ),
    ]
    try:
        hf(torch.zeros(1, 2, dtype=torch.long, device=hf.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    expected = {"o_proj": width_in, "mlp": config.hidden_size, "layer": config.hidden_size}
    wrong = [k for k, d in expected.items() if tuple(seen.get(k, ())) != (1, 2, d)]
    if wrong or width_in % config.num_attention_heads or width_out != config.hidden_size:
        raise ModelError(
            f"{name}: {anatomy} does not hold in a forward pass: saw {seen}, expected widths "
            f"{expected}, {config.num_attention_heads} heads."
        )


def _first(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output
