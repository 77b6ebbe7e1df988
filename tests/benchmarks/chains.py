"""ReasonChainQA's path retriever, trained along with MiniLM: speed, and whole chains by depth."""

import random
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tests.benchmarks import graphhop, timing
from workbench.retrieval.chain_metrics import chain_scored
from workbench.retrieval.graphs import Evidence, depth
from workbench.retrievers import train
from workbench.retrievers.model import PathRetriever
from workbench.retrievers.paths import best_paths, trained_paths
from workbench.worlds.chains import questions

QUESTIONS, TEST, POOL, SEEDS, BATCH, LONGEST = 10_000, 350, 25, 2, 8, 96


def learnt(
    asked: Sequence[Evidence], of: graphhop.Encoder, fit: train.Fit, seed: int
) -> tuple[PathRetriever, float]:
    """A path retriever trained in bfloat16, and the seconds of it."""
    begun = time.perf_counter()
    with torch.autocast(timing.device().type, torch.bfloat16, cache_enabled=False):
        network = trained_paths(asked, fit, seed, encoder=of)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return network, time.perf_counter() - begun


def chain_em(network: PathRetriever, test: Sequence[Evidence]) -> dict[str, float]:
    """The share of right chains, of all, by depth, and the best of which end where they should.

    Nothing is chosen: a beam of four, as in §2.3.
    """
    chains = [of[0].facts for of in best_paths(network, test)]
    right = [chain_scored(q, chain).chain_exact for q, chain in zip(test, chains, strict=True)]
    deep = [depth(q.edges) for q in test]
    ends = [len(chain) == len(q.nodes) for q, chain in zip(test, chains, strict=True)]
    by_depth = {
        f"chain_em_{n}": [ok for ok, d in zip(right, deep, strict=True) if d == n]
        for n in sorted({*deep})
    }
    means = {"chain_em": right, "right_length": ends} | by_depth
    return {name: float(np.mean(values)) for name, values in means.items()}


def tuned_along(toy: bool, seconds: float) -> Iterator[dict | str]:
    """One epoch of `SEEDS` seeds on questions of depth 1 to 7, of 10,000 as many as time allows.

    `seconds`: of both trainings together.
    """
    count, few, name = (14, 7, "toy") if toy else (QUESTIONS, 512, "minilm")
    asked = questions("train", count, worlds=2 if toy else 20, pool=POOL)
    test = questions("test", 7 if toy else TEST, worlds=1 if toy else 4, pool=POOL)
    of = graphhop.encoder(name, [*asked, *test])
    if name == "minilm" and of.name != name:
        yield "MiniLM is not here (WORKBENCH_MINILM): random weights of its shape are trained"
    rate = 3e-3 if toy else 2e-5
    fit = train.Fit(**train.RELEASED | {"schedule": "one_cycle", "clip": 1.0, "d": of.width},
                    heads=of.hf.config.num_attention_heads, epochs=1, batch=BATCH, lr=rate,
                    max_tokens=LONGEST)  # fmt: skip
    learnt(asked[:BATCH], of, fit, 0)
    took = learnt(asked[:few], of, fit, 0)[1]
    yield {"questions_per_second": few / took}
    share = random.Random(0).sample(asked, min(count, max(few, int(seconds / SEEDS / took * few))))
    yield {"questions_learnt": len(share)}
    for seed in range(SEEDS):
        network, took = learnt(share, of, fit, seed)
        scores = chain_em(network, test)
        yield {f"seed_{seed}_{name}": value for name, value in scores.items()}
        yield {f"seed_{seed}_seconds": took}
