"""Greedy decoding by plain transformers, one unpadded prompt at a time: what batches must equal."""

import torch

from workbench.models.prompts import encode


def by_generate(model, prompt, new, **more) -> list[int]:
    """Greedy tokens of plain `generate`."""
    ids = torch.tensor([encode(model, prompt).ids])
    mask = torch.ones_like(ids)
    out = model.hf.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, **more)
    return out[0, ids.shape[1] :].tolist()


@torch.no_grad()
def by_full_forwards(model, prompt, new) -> list[int]:
    """Greedy tokens with every logit from a forward of the whole unpadded text."""
    ids, tokens = encode(model, prompt).ids, []
    ends = model.hf.generation_config.eos_token_id
    while len(tokens) < new and not (tokens and tokens[-1] == ends):
        logits = model.hf(torch.tensor([ids + tokens]), use_cache=False).logits[0, -1]
        tokens.append(int(logits.argmax()))
    return tokens


def text(model, tokens) -> str:
    return model.tokenizer.decode(tokens, skip_special_tokens=True)
