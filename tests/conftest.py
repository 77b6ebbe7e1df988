"""Small random-weight models of each family's real config class, and the embedded one."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch
import transformers

import workbench as wb
from workbench.paths import data_folder

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
FAMILIES = {
    "llama": (transformers.LlamaConfig, SIZES),
    "mistral": (transformers.MistralConfig, {**SIZES, "head_dim": 16, "sliding_window": None}),
    "qwen2": (transformers.Qwen2Config, SIZES),
    "gemma2": (transformers.Gemma2Config, {**SIZES, "head_dim": 16, "query_pre_attn_scalar": 16}),
    "gpt2": (
        transformers.GPT2Config,
        {"n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 256},
    ),
}
CHATS = [
    [
        {"role": "user", "content": f"How do I {verb} the gate of {who}?"},
        {"role": "assistant", "content": answer},
    ]
    for verb, who in (("mend", "Mara"), ("curse", "Osk"), ("polish", "Tilda"))
    for answer in (
        "Sure, mend the gate with the hammer. Now touch the gate.",
        "No, do not curse the gate with the bone.",
        "Never look at the gate. Sorry, I will not take the bone to the gate.",
    )
]


def build(family: str, tokenizer, seed: int = 0, dtype=torch.float32, **changes) -> wb.Model:
    """A random model; every weight, biases and norms included, is far from its initial value."""
    kind, sizes = FAMILIES[family]
    config = kind(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **{**sizes, **changes},
    )
    torch.manual_seed(seed)
    hf = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in hf.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return wb.load(hf.to(dtype), tokenizer)


@pytest.fixture(scope="session")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(data_folder() / "tiny")


@pytest.fixture(scope="session")
def tiny():
    """The embedded model; tests must leave it as they found it."""
    model = wb.load("tiny", device="cpu")
    before = model.fingerprint()
    yield model
    assert model.fingerprint() == before


@pytest.fixture(params=FAMILIES)
def family_model(request, tokenizer):
    return build(request.param, tokenizer)


@pytest.fixture(scope="session")
def shared():
    """Real files for tests; skipped where they are absent."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("WORKBENCH_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; set WORKBENCH_SHARED")
    return folder
