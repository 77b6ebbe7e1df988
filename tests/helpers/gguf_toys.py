"""Small GGUF files, written as llama.cpp's converter does, from models that are known."""

from types import MappingProxyType

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

import workbench as wb

gguf = pytest.importorskip("gguf", reason="`pip install gguf` brings what reads GGUF files")

SIZES = {
    "vocab_size": 272, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}  # fmt: skip
MODELS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
PRE = {"llama": "smollm", "qwen2": "qwen2"}
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
MERGES = ("Ċ Ċ", "Ġ Ġ", "Ġ a", "t e", "e s", "Ġ t")
BYTES = list(bytes_to_unicode().values())
TOKENS = ["<|end|>", "<|start|>", *BYTES, *(m.replace(" ", "") for m in MERGES)]
TOKENS += [f"[PAD{i}]" for i in range(SIZES["vocab_size"] - len(TOKENS))]

PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
PIECES += ["▁", "a", "b", "▁a", "ab", "▁ab", "▁b", "1", "▁▁"]
PIECES += [f"[P{i}]" for i in range(SIZES["vocab_size"] - len(PIECES))]
SENTENCEPIECE = {
    "tokenizer.ggml.model": ("string", "llama"),
    "tokenizer.ggml.pre": ("string", "default"),
    "tokenizer.ggml.tokens": ("array", PIECES),
    "tokenizer.ggml.token_type": ("array", [2, 3, 3] + [6] * 256 + [1] * (len(PIECES) - 259)),
    "tokenizer.ggml.scores": ("array", [0.0] * 259 + [-float(i) for i in range(13)]),
    "tokenizer.ggml.bos_token_id": ("uint32", 1),
    "tokenizer.ggml.eos_token_id": ("uint32", 2),
}


def made(family):
    """A plain transformers model with random weights."""
    torch.manual_seed(0)
    config, kind = MODELS[family]
    hf = kind(config(**SIZES, tie_word_embeddings=True, eos_token_id=0, pad_token_id=0))
    for weight in hf.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return hf.eval()


def stored(weight, name, family):
    """A weight as llama.cpp stores it: it rotates neighbours, transformers halves of a head."""
    heads = {"attn_q.weight": 4, "attn_k.weight": 2}.get(name.partition(".")[2].partition(".")[2])
    array = weight.detach().float().numpy()
    if family == "llama" and heads:
        parts = array.reshape(heads, 2, len(array) // heads // 2, -1)
        array = parts.swapaxes(1, 2).reshape(array.shape)
    return array


def write(
    path, family="llama", quant="F32", *, drop=(), extra=MappingProxyType({}), tensors=(), hf=None
):
    """Write a file; without the fields and tensors in `drop`, with `extra` ones instead."""
    hf = made(family)
    writer = gguf.GGUFWriter(str(path), family)
    fields = {
        "block_count": ("uint32", 2), "context_length": ("uint32", 128),
        "embedding_length": ("uint32", 64), "feed_forward_length": ("uint32", 96),
        "attention.head_count": ("uint32", 4), "attention.head_count_kv": ("uint32", 2),
        "attention.layer_norm_rms_epsilon": ("float32", 1e-5),
        "rope.freq_base": ("float32", 10000.0), "rope.dimension_count": ("uint32", 16),
        "vocab_size": ("uint32", 272),
    }  # fmt: skip
    fields = {f"{family}.{name}": field for name, field in fields.items()} | {
        "tokenizer.ggml.model": ("string", "gpt2"),
        "tokenizer.ggml.pre": ("string", PRE[family]),
        "tokenizer.ggml.tokens": ("array", TOKENS),
        "tokenizer.ggml.token_type": ("array", [3, 3] + [1] * (len(TOKENS) - 2)),
        "tokenizer.ggml.merges": ("array", list(MERGES)),
        "tokenizer.ggml.eos_token_id": ("uint32", 0),
        "tokenizer.ggml.padding_token_id": ("uint32", 0),
        "tokenizer.chat_template": ("string", TEMPLATE),
    }
    for name, (kind, value) in (fields | dict(extra)).items():
        if name not in drop:
            getattr(writer, f"add_{kind}")(name, value)
    kind = gguf.GGMLQuantizationType[quant]
    arch = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == family)
    names = gguf.get_tensor_name_map(arch, 2)
    for name, weight in hf.named_parameters():
        base, _, suffix = name.rpartition(".")
        place = f"{names.get_name(base)}.{suffix}"
        if place not in drop:
            array = stored(weight, place, family)
            whole = array.ndim == 1 or quant == "F32"
            data = array if whole else gguf.quantize(array, kind)
            writer.add_tensor(place, data, raw_dtype=None if whole else kind)
    for name, array in tensors:
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def dequantised(weight, name, family, quant):
    """What is left of a weight that was stored as `quant`."""
    kind = gguf.GGMLQuantizationType[quant]
    if weight.ndim == 1 or quant == "F32":
        return weight
    # Rows are quantised one by one, so their order does not matter.
    return torch.from_numpy(gguf.dequantize(gguf.quantize(weight.detach().numpy(), kind), kind))


def load(path, **options):
    return wb.load(path, device="cpu", **options)
