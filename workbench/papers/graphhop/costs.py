"""How much faster the exact shortcuts are than what they replace, measured in the run itself.

Rounds alternate between the two, and a ratio is of one round, which other work on the machine
hardly disturbs.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from workbench.evaluation.intervals import AMOUNT
from workbench.evaluation.metrics import measured
from workbench.evaluation.ratios import alternated
from workbench.retrieval.search import top_k
from workbench.retrievers.model import Retriever

ROUNDS = 5
SHORTCUT = {"states": 4, "facts": 25, "tokens": 30, "width": 384}
TOP_K = {"facts": 10**5, "width": 384, "queries": 32, "k": 10}
"""MiniLM's width; some three seconds on one thread."""
LIMIT = 1e-5
"""Largest difference of two logits."""


def measure() -> dict[str, list[float]]:
    """Metric → its ratio in every round, for `metrics`."""
    return {
        "shortcut_ratio": shortcut(**SHORTCUT, rounds=ROUNDS),
        "topk_ratio": topk(**TOP_K, rounds=ROUNDS),
    }


def metrics(ratios: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Medians over rounds, each with the sizes that it is of; the paper has no such figures."""
    sizes = {"shortcut_ratio": SHORTCUT, "topk_ratio": TOP_K}
    rows = []
    for name, values in ratios.items():
        setting = ", ".join(f"{what} {size:,}" for what, size in sizes[name].items())
        rows.append(
            measured(
                name, values, "rounds", (None, setting), statistic=statistics.median, limits=AMOUNT
            )
        )
    return rows


@torch.no_grad()
def shortcut(
    states: int, facts: int, tokens: int, width: int, rounds: int, device: str = "cpu"
) -> list[float]:
    """Seconds of the naive head over those of the exact shortcut (§2.5), padding and all.

    The shortcut's one reading of the facts is counted. Raises `ArithmeticError` where their logits
    differ by more than `LIMIT`.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        retriever = Retriever(torch.nn.Identity(), "forward", width, 4).eval().to(device)

    def draw(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.randint(5, tokens + 1, (rows, 1), generator=generator)
        there = torch.arange(tokens) < lengths
        return torch.randn(rows, tokens, width, generator=generator).to(device), there.to(device)

    (x, there), (state, asked) = draw(facts), draw(states)
    logits: dict[str, torch.Tensor] = {}

    def naive() -> None:
        each = [part.repeat_interleave(facts, 0) for part in (state, asked)]
        rows = [part.repeat(states, *[1] * (part.ndim - 1)) for part in (x, there)]
        read = retriever.score_reading(*rows, *each)[:, 0]
        logits["naive"] = retriever.out(read)[:, 0].view(states, facts)

    def shortened() -> None:
        gists = retriever.gist(x, there).expand(states, -1, -1)
        logits["shortcut"] = retriever.logits(gists, state, asked)

    ratios = alternated(naive, shortened, rounds)
    if (worst := (logits["naive"] - logits["shortcut"]).abs().max().item()) > LIMIT:
        raise ArithmeticError(f"the shortcut's logits are off by {worst:.2g}, limit {LIMIT:g}")
    return ratios


def topk(
    facts: int, width: int, queries: int, k: int, rounds: int, device: str = "cpu"
) -> list[float]:
    """Seconds of `search.top_k`, in chunks, over those of one product and topk of it all."""
    generator = torch.Generator().manual_seed(0)
    vectors, asked = (torch.randn(n, width, generator=generator).to(device)
                      for n in (facts, queries))  # fmt: skip
    return alternated(
        lambda: top_k(asked, vectors, k), lambda: (asked @ vectors.T).topk(k, dim=1), rounds
    )
