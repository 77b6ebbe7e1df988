"""Graph-hop: the exact shortcut of its scores, and networks that are trained along with an encoder.

The shortcut is beside the naive head, which reads every fact whole; training in half precision
beside float32.
"""

import random
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import BertConfig, BertModel

import workbench as wb
from tests.benchmarks import timing
from tests.helpers.encoder_toys import word_tokenizer
from workbench.errors import ModelError
from workbench.models.encoders import Encoder
from workbench.papers.graphhop import costs
from workbench.retrieval.graphs import Evidence, nodes
from workbench.retrieval.metrics import overlap
from workbench.retrievers import fuse, train
from workbench.retrievers.model import Retriever
from workbench.retrievers.search import retrieved
from workbench.retrievers.targets import targets
from workbench.worlds.pools import questions

SIZES = {"toy": (2, 5, 8, 16, 2), "bert": (4, 25, 30, 768, 7)}
"""States, facts, tokens, width (§2.5) and rounds."""
SHAPES = {
    "toy": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 2},
    "minilm": {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
               "num_attention_heads": 12},
}  # fmt: skip
QUESTIONS, POOL, BATCH, SEEDS = 12_000, 25, 8, 3
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FURTHEST = 0.05
"""How far a loss may be from that of a training in float32, as a share of it."""


def shortcut(name: str = "bert") -> dict[str, list[float]]:
    """`costs.shortcut`, one number a round. Raises `ArithmeticError` where logits differ."""
    return {"shortcut_ratio": costs.shortcut(*SIZES[name], device=str(timing.device()))}


def encoder(name: str, asked: Sequence[Evidence]) -> Encoder:
    """MiniLM where it is to be had; else random weights of a shape, which know all the words."""
    try:
        if name == "minilm":
            return wb.load_encoder(name)
    except ModelError:
        pass
    words = sorted({word for q in asked for text in (q.question, *q.facts)
                    for word in text.replace(".", " . ").replace("?", " ? ").split()})  # fmt: skip
    tokenizer = word_tokenizer(words)
    torch.manual_seed(0)
    hf = BertModel(BertConfig(vocab_size=len(tokenizer), **SHAPES[name]))
    return Encoder(hf.to(timing.device()).eval(), tokenizer, "random weights", 40)


def fit_of(of: Encoder, rate: float) -> train.Fit:
    """MiniLM tuned along, as in the spec's §6, but on one cycle, since an epoch may be all."""
    heads = of.hf.config.num_attention_heads
    return train.Fit(**train.RELEASED | {"schedule": "one_cycle", "clip": 1.0, "d": of.width},
                     heads=heads, epochs=1, batch=BATCH, lr=rate)  # fmt: skip


def learnt(
    asked: Sequence[Evidence], of: Encoder, fit: train.Fit, dtype: str, seed: int
) -> tuple[Retriever, float]:
    """A forward network trained in a dtype; seconds of it."""
    # Its cache of weights in half precision outlives the steps that change them.
    cast = torch.autocast(timing.device().type, DTYPES[dtype], dtype != "float32", False)
    begun = time.perf_counter()
    with cast:
        network = train.trained(asked, fit, "forward", seed, of)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return network, time.perf_counter() - begun


@torch.no_grad()
def held_out(network: Retriever, dev: Sequence[Evidence]) -> float:
    """The loss on questions of other worlds, in float32."""
    gold = [targets(q.edges, "forward") for q in dev]
    return train.loss(network, network.encoder.pool(dev), gold, 1.0).item()


def f1(network: Retriever, dev: Sequence[Evidence]) -> float:
    """Of facts, at the threshold that is best for half of the questions, on the other half."""
    edges = retrieved(network, dev)
    nothing: list = [[] for _ in dev]
    half = len(dev) // 2
    gold = [q.edges for q in dev]
    w, tau = fuse.tuned(gold[:half], edges[:half], nothing[:half], (1.0,))
    rest = zip(dev[half:], edges[half:], strict=True)
    return float(np.mean([overlap({*q.nodes}, {*nodes(fuse.soft(e, [], w, tau))})[2]
                          for q, e in rest]))  # fmt: skip


def tuned_along(toy: bool, seconds: float) -> Iterator[dict | str]:
    """A network with its encoder: time and loss by dtype, then `SEEDS` in bfloat16 and their F1.

    Of 12,000 questions as many as some `seconds` allow for. Raises `SystemExit` where a loss is
    further than `FURTHEST` from that in float32.
    """
    count, few, name = (48, 32, "toy") if toy else (QUESTIONS, 512, "minilm")
    asked = questions("train", count, worlds=24, pool=POOL)
    dev = questions("dev", count // 50 + 8, worlds=4, pool=POOL)
    of = encoder(name, [*asked, *dev])
    if name == "minilm" and of.name != name:
        yield "MiniLM is not here (WORKBENCH_MINILM): random weights of its shape are trained"
    fit = fit_of(of, 3e-3 if toy else 2e-5)
    learnt(asked[: 2 * BATCH], of, fit, "float32", 0)
    taken, losses = {}, {}
    for dtype in DTYPES:
        network, taken[dtype] = learnt(asked[:few], of, fit, dtype, 0)
        losses[dtype] = held_out(network, dev)
        yield {f"{dtype}_questions_per_second": few / taken[dtype]}
        if dtype == "float32":
            continue
        far = abs(losses[dtype] - losses["float32"]) / losses["float32"]
        yield {f"{dtype}_over_float32_seconds": taken[dtype] / taken["float32"],
               f"{dtype}_loss_off_by": far}  # fmt: skip
        if not far < FURTHEST:
            raise SystemExit(f"the loss in {dtype} is off by {far:.2g} of that in float32")
    yield {"untrained_f1": f1(train.built(fit, ["forward"], [], of)[0].eval(), dev)}
    afford = int(seconds / SEEDS / taken["bfloat16"] * few)
    share = random.Random(0).sample(asked, min(count, max(few, afford)))
    yield {"questions_learnt": len(share)}
    for seed in range(SEEDS):
        network, took = learnt(share, of, fit, "bfloat16", seed)
        yield {f"seed_{seed}_f1": f1(network, dev), f"seed_{seed}_seconds": took,
               f"seed_{seed}_loss": held_out(network, dev)}  # fmt: skip
