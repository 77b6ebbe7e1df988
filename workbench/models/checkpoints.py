"""save_checkpoint(): write a model, folded biases included, as one plain transformers loads."""

import copy
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel

from workbench.errors import FoldError
from workbench.models.loading import SIDECAR, restore_sidecar
from workbench.models.model import Model
from workbench.reading import read_json
from workbench.writing import whole, write_json

log = logging.getLogger(__name__)

# Config flags that give a family's projections a bias; families without an entry need none, or
# have none to give.
_FLAGS = {
    "llama": ("attention_bias", "mlp_bias"),
    "qwen3": ("attention_bias",),
    "gemma": ("attention_bias",),
    "gemma2": ("attention_bias",),
    "gemma3_text": ("attention_bias",),
    "olmo2": ("attention_bias",),
    "gpt_neox": ("attention_bias",),
    "opt": ("enable_bias",),
    "falcon": ("bias",),
}
_AS_LLAMA = ("mistral", "qwen2")
_LLAMA_FIELDS = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads hidden_act max_position_embeddings initializer_range rms_norm_eps "
    "pad_token_id bos_token_id eos_token_id tie_word_embeddings rope_parameters"
).split()


def save_checkpoint(model: Model, path: str | Path, *, sidecar: bool = False) -> float:
    """Write the model and tokenizer; reload with plain transformers; compare logits.

    >>> with wb.steer(model, lock, 4.0, how="fold"):
    ...     wb.save_checkpoint(model, "locked")

    A bias that the family's class does not declare would be dropped silently on reload
    (SafetyLock, trap 9). So the config flag that declares it is switched on where the family has
    one, and every other new bias is zero; Mistral and Qwen2 are saved as the Llama class, which is
    the same function of the same weights when sliding-window attention is off.

    `sidecar=True`, for a family without a slot (Mixtral, Phi-3, a residual shift in Gemma, …):
    the weights are saved without the new biases and these beside them, in a file that
    `workbench.load` puts back. Plain transformers then loads an *unsteered* model.

    Returns the largest absolute logit difference between the model and its reloaded copy (over
    eight prompts; 0 or rounding). Nothing is left at `path` unless that check passes.

    Raises `FoldError` where the family has no exact export or the reloaded logits differ, for
    negative alphas, hooks, adapters and quantised weights; `FileExistsError` where `path` is there.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another folder")
    _require_exportable(model)
    hf = model.hf
    state = {k: v.detach() for k, v in hf.state_dict().items()}
    target, missing = _target(model, state)
    if missing and not sidecar:
        raise FoldError(
            f"{model.name}: family {hf.config.model_type!r} has no exact slot for "
            f"{sorted(missing)}. Save the direction beside the unchanged model and steer at load, "
            "or pass sidecar=True: workbench.load puts the biases back, plain transformers not."
        )
    for name, tensor in target.state_dict().items():
        if name not in state:
            if not name.endswith(".bias"):
                raise FoldError(f"{model.name}: export would have to invent {name}")
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    with whole(path) as partial:
        beside = {name: state.pop(name).contiguous().cpu() for name in missing}
        target.save_pretrained(partial, state_dict=state)
        if beside:
            config = read_json(partial / "config.json", FoldError)
            write_json(partial / "config.json", {**config, "workbench_sidecar": True}, indent=2)
            save_file({k.removesuffix(".bias"): v for k, v in beside.items()}, partial / SIDECAR)
            log.warning("%s: plain transformers will load this without its shift", path)
        hf.generation_config.save_pretrained(partial)
        model.tokenizer.save_pretrained(partial)
        difference, largest = _reload_difference(model, partial)
        # Half precision keeps eight bits of a logit, and the copy may run on another device.
        tolerance = 1e-4 if hf.dtype in (torch.float32, torch.float64) else 0.02
        if not difference <= tolerance * largest:
            raise FoldError(f"{model.name}: reloaded logits differ by {difference:.3g}")
    return difference


def _require_exportable(model: Model) -> None:
    reasons = sorted(set(model.not_for_export))
    if model.hooked:
        reasons.append("steering by hook is not in the weights")
    if any(hasattr(m, "get_base_layer") for m in model.hf.modules()):
        reasons.append("an adapter is not merged; call merge_and_unload() on the PEFT model first")
    if getattr(model.hf.config, "quantization_config", None) is not None:
        reasons.append("its weights are quantised")
    if any(p.is_meta for p in model.hf.parameters()):
        reasons.append("some weights are offloaded")
    if reasons:
        raise FoldError(f"{model.name} cannot be exported: " + "; ".join(reasons))


def _target(model: Model, state: dict[str, torch.Tensor]) -> tuple[PreTrainedModel, set[str]]:
    """(a model on the meta device with as many bias slots as needed, biases it still lacks)."""
    config = copy.deepcopy(model.hf.config)
    text = config.get_text_config()
    target, missing = _empty(model, config, state)
    # Only the flags that are needed: each also gives other projections a (zero) bias.
    for flag in _FLAGS.get(text.model_type, ()):
        if missing and not getattr(text, flag):
            setattr(text, flag, True)
            wider, still_missing = _empty(model, config, state)
            if still_missing < missing:
                target, missing = wider, still_missing
            else:
                setattr(text, flag, False)
    if missing and config.model_type in _AS_LLAMA:
        window = getattr(config, "sliding_window", None)
        if window and getattr(config, "use_sliding_window", True):
            raise FoldError(
                f"{model.name}: sliding-window attention ({window}) is on, which the Llama class "
                "does not have. Set config.sliding_window = None if you never exceed it."
            )
        fields = {name: getattr(config, name) for name in _LLAMA_FIELDS if hasattr(config, name)}
        mlp = any(".mlp." in name for name in missing)
        llama = LlamaConfig(**fields, head_dim=model.d_head, attention_bias=True, mlp_bias=mlp)
        target, missing = _empty(model, llama, state)
    return target, missing


def _empty(
    model: Model, config: PreTrainedConfig, state: dict[str, torch.Tensor]
) -> tuple[PreTrainedModel, set[str]]:
    with torch.device("meta"):
        target = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=model.hf.dtype, trust_remote_code=False
        )
    return target, state.keys() - target.state_dict().keys()


@torch.inference_mode()
def _reload_difference(model: Model, folder: Path) -> tuple[float, float]:
    """(largest difference of logits, largest logit or 1)."""
    # Kept on the CPU: a second copy of a large model need not fit the GPU beside the first.
    again = AutoModelForCausalLM.from_pretrained(
        folder, dtype=model.hf.dtype, trust_remote_code=False, weights_only=True
    ).eval()
    restore_sidecar(again, folder)
    generator = torch.Generator().manual_seed(0)
    worst, largest = 0.0, 1.0
    vocabulary = model.hf.config.get_text_config().vocab_size
    for length in range(2, 10):
        ids = torch.randint(0, vocabulary, (1, length), generator=generator)
        here = model.hf(ids.to(model.input_device)).logits.float().cpu()
        difference = (here - again(ids).logits.float()).abs().max().item()
        worst = max(worst, difference if difference == difference else float("inf"))
        largest = max(largest, here.abs().max().item())
    return worst, largest
