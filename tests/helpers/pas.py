"""A questionnaire, a random model of it, and people who answered."""

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import workbench as wb
from workbench.data.inventories import read_inventory
from workbench.data.keying import Keying
from workbench.data.respondents import Respondents
from workbench.papers.pas import prompts
from workbench.tiny import survey_texts
from workbench.worlds.population import Population

INVENTORY = read_inventory()
TRAIN, TEST = INVENTORY.split("train"), INVENTORY.split("test")
TOKENIZER = survey_texts.build_tokenizer(INVENTORY)


def build(tokenizer=TOKENIZER, **sizes):
    """A random model of the questionnaire whose answers differ between statements."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
           "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512,
           **sizes},
    )  # fmt: skip
    hf = LlamaForCausalLM(config).eval()
    for parameter in hf.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for layer in hf.model.layers:
        # Else the last token, the same for all statements, decides alone.
        layer.self_attn.o_proj.weight.data *= 10
    return wb.load(hf, tokenizer, device="cpu")


def respondents(count=4, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    values = Population(INVENTORY).draw(rng, count).answers
    values[rng.random(values.shape) < missing] = 0
    ids = tuple(f"p{i}" for i in range(count))
    return Respondents(INVENTORY, values, ids, "raw", Keying("raw", 0.0, 0.0, 0, stated=True))


def head_of_chat(tokenizer, system, text, order):
    """Token ids up to the reply, from the tokenizer's own template."""
    messages = prompts.chat(system, text, "", order)[:2]
    written = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(written, add_special_tokens=False)["input_ids"]
