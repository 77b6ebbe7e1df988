"""A toy SAE, two toy models and their pairs, for the tests of features."""

import numpy as np

from tests.helpers.fpo_toys import llama, tokenised_pairs, tokenizer, toy_sae

HOOK = "blocks.1.hook_resid_post"

SAE = toy_sae("topk").requires_grad_(False)

POLICY, REFERENCE = llama(seed=3).eval(), llama().eval()

TOKENIZER = tokenizer()

ROWS = tokenised_pairs(14, seed=2)


def dense(run, who, side):
    """Codes of every response token, from what is stored."""
    parts = [
        run.tokens(r, ("chosen", "rejected").index(side))[("policy", "ref").index(who)].toarray()
        for r in range(len(ROWS))
    ]
    return np.concatenate(parts)
