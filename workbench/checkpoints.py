"""save_checkpoint(): write a model, folded biases included, as one plain transformers loads."""

import copy
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from workbench.errors import FoldError
from workbench.models import Model

_FLAGGED = {"llama": "attention_bias", "gemma2": "attention_bias"}
_AS_LLAMA = ("mistral", "qwen2")
_LLAMA_FIELDS = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads hidden_act max_position_embeddings initializer_range rms_norm_eps "
    "pad_token_id bos_token_id eos_token_id tie_word_embeddings rope_parameters"
).split()


def save_checkpoint(model: Model, path: str | Path) -> float:
    """Write the model and tokenizer; reload with plain transformers; compare logits.

    A bias that the family's class does not declare would be dropped silently on reload
    (SafetyLock, trap 9). So Llama and Gemma 2 are saved with `attention_bias` on and every other
    new bias zero; Mistral and Qwen2 as the Llama class, which is the same function of the same
    weights when sliding-window attention is off; GPT-2 has the bias already.

    Returns the largest absolute logit difference between the model and its reloaded copy (over
    eight prompts; 0 or rounding). Nothing is left at `path` unless that check passes.

    Raises `FoldError` where the family has no exact export or the reloaded logits differ, and
    `FileExistsError` where `path` is there already.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another folder")
    hf = model.hf
    config = _config_with_bias(model)
    state = {k: v.detach() for k, v in hf.state_dict().items()}
    with torch.device("meta"):
        target = AutoModelForCausalLM.from_config(config, dtype=hf.dtype)
    for name, tensor in target.state_dict().items():
        if name not in state:
            if not name.endswith(".bias"):
                raise FoldError(f"{model.name}: export would have to invent {name}")
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    lost = state.keys() - target.state_dict().keys()
    if lost:
        raise FoldError(f"{model.name}: export would lose {sorted(lost)}")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        target.save_pretrained(partial, state_dict=state)
        hf.generation_config.save_pretrained(partial)
        model.tokenizer.save_pretrained(partial)
        difference = _reload_difference(model, partial)
        tolerance = 1e-4 if hf.dtype in (torch.float32, torch.float64) else 0.1
        if not difference <= tolerance:
            raise FoldError(f"{model.name}: reloaded logits differ by {difference:.3g}")
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return difference


def _config_with_bias(model: Model) -> PreTrainedConfig:
    config = copy.deepcopy(model.hf.config)
    family = config.model_type
    if family == "gpt2" or all(model.o_proj(i).bias is None for i in range(model.n_layers)):
        return config
    if family in _FLAGGED:
        setattr(config, _FLAGGED[family], True)
        return config
    if family not in _AS_LLAMA:
        raise FoldError(
            f"{model.name}: family {family!r} has no bias slot on o_proj and no exact export; "
            "ship the direction file beside the unchanged model instead."
        )
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        raise FoldError(
            f"{model.name}: sliding-window attention ({config.sliding_window}) is on, which the "
            "Llama class does not have. Set config.sliding_window = None if you never exceed it."
        )
    fields = {name: getattr(config, name) for name in _LLAMA_FIELDS if hasattr(config, name)}
    return LlamaConfig(**fields, head_dim=model.d_head, attention_bias=True)


@torch.inference_mode()
def _reload_difference(model: Model, folder: Path) -> float:
    # Kept on the CPU: a second copy of a large model need not fit the GPU beside the first.
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=model.hf.dtype).eval()
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for length in range(2, 10):
        ids = torch.randint(0, model.hf.config.vocab_size, (1, length), generator=generator)
        here = model.hf(ids.to(model.hf.device)).logits.float().cpu()
        difference = (here - again(ids).logits.float()).abs().max().item()
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst
