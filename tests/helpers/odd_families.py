"""Small models of families whose attention is of their own, admitted by an anatomy."""

import torch
import transformers

import workbench as wb
from tests.helpers.families import NO_GQA, SIZES, WIDE

LLAMA = wb.ANATOMIES["llama"]
WHOLE_MLP = wb.Anatomy("model.layers", "self_attn", "o_proj")
GPT = wb.Anatomy("transformer.h", "attn", "attention.out_proj")
ODD = {
    "sinks": ("GptOss", {**WIDE, "num_local_experts": 4, "sliding_window": 300}, WHOLE_MLP),
    "sinks_and_windows": ("GptOss", {**WIDE, "num_local_experts": 4, "sliding_window": 16},
                          WHOLE_MLP),
    "differential": ("DiffLlama", SIZES, LLAMA),
    "windows_by_another_name": ("GPTNeo", {
        "hidden_size": 48, "num_layers": 4, "num_heads": 6, "max_position_embeddings": 256,
        "attention_types": [[["global", "local"], 2]], "window_size": 16,
    }, GPT),
    "alibi": ("Bloom", {"hidden_size": 48, "n_layer": 3, "n_head": 6},
              wb.Anatomy("transformer.h", "self_attention", "dense")),
    "layers_without_positions": ("SmolLM3", SIZES, LLAMA),
    "latent": ("DeepseekV3", {
        **NO_GQA, "num_key_value_heads": 6, "q_lora_rank": 16, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 4,
        "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "first_k_dense_replace": 3,
    }, LLAMA),
    "chunks": ("Llama4Text", {
        **WIDE, "intermediate_size_mlp": 64, "moe_layers": [], "attention_chunk_size": 16,
        "num_hidden_layers": 4,
    }, wb.Anatomy("model.layers", "self_attn", "o_proj", mlp="feed_forward")),
    "recurrent_and_attention": ("Jamba", {
        **SIZES, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "num_experts": 2, "mamba_d_state": 8, "use_mamba_kernels": False,
    }, wb.Anatomy("model.layers", "mamba", "out_proj", mlp="feed_forward")),
    "short_convolutions": ("Lfm2", {
        **SIZES, "num_hidden_layers": 4, "block_ff_dim": 64,
        "layer_types": ["conv", "full_attention"] * 2,
    }, wb.Anatomy("model.layers", "conv", "out_proj", mlp="feed_forward")),
    "recurrent_without_a_cache": ("RecurrentGemma", {
        **SIZES, "num_hidden_layers": 3, "lru_width": 48, "attention_window_size": 16,
        "block_types": ["recurrent", "recurrent", "attention"],
    }, wb.Anatomy("model.layers", "temporal_block", "linear_out", mlp="mlp_block")),
}  # fmt: skip


def odd(name, tokenizer):
    family, sizes, anatomy = ODD[name]
    ids = {f"{x}_token_id": getattr(tokenizer, f"{x}_token_id") for x in ("pad", "bos", "eos")}
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **ids, **sizes)
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in hf.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return wb.load(hf, tokenizer, anatomy=anatomy)
