"""Small random-weight models of each family's real config class, and chats to feed them."""

import torch
import transformers

import workbench as wb

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
# Gemma and Qwen3 have heads whose widths do not add up to hidden_size.
WIDE = {**SIZES, "head_dim": 16}
NO_GQA = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
OPT = {**NO_GQA, "ffn_dim": 64, "word_embed_proj_dim": 48}
FALCON = {k: v for k, v in NO_GQA.items() if k != "intermediate_size"}
FAMILIES = {
    "llama": (transformers.LlamaConfig, SIZES),
    "mistral": (transformers.MistralConfig, {**WIDE, "sliding_window": None}),
    "mixtral": (transformers.MixtralConfig, {**SIZES, "num_local_experts": 4}),
    "qwen2": (transformers.Qwen2Config, SIZES),
    "qwen3": (transformers.Qwen3Config, WIDE),
    "gemma": (transformers.GemmaConfig, WIDE),
    "gemma2": (transformers.Gemma2Config, {**WIDE, "query_pre_attn_scalar": 16}),
    "gemma3": (transformers.Gemma3TextConfig, {**WIDE, "query_pre_attn_scalar": 16}),
    "phi3": (transformers.Phi3Config, SIZES),
    "olmo2": (transformers.Olmo2Config, SIZES),
    "gpt2": (
        transformers.GPT2Config,
        {"n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 256},
    ),
    "gpt_neox": (transformers.GPTNeoXConfig, NO_GQA),
    "gpt_neox_sequential": (
        transformers.GPTNeoXConfig,
        {**NO_GQA, "use_parallel_residual": False},
    ),
    "opt": (transformers.OPTConfig, OPT),
    "opt_post_norm": (
        transformers.OPTConfig,
        {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
    ),
    "falcon_multi_query": (transformers.FalconConfig, FALCON),
    "falcon_grouped": (
        transformers.FalconConfig,
        {**FALCON, "num_kv_heads": 2, "new_decoder_architecture": True},
    ),
    "falcon_alibi": (
        transformers.FalconConfig,
        {**FALCON, "alibi": True, "bias": True, "multi_query": False, "parallel_attn": False},
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


def multimodal_gemma3(tokenizer) -> transformers.PreTrainedModel:
    """A small Gemma 3 with eyes; its text part is the family `"gemma3"`."""
    kind, sizes = FAMILIES["gemma3"]
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=kind(vocab_size=len(tokenizer), pad_token_id=1, **sizes).to_dict(),
        vision_config=vision,
        mm_tokens_per_image=4,
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()
