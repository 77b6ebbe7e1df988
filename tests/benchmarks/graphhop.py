"""The exact shortcut of graph-hop's scores beside the naive head, which reads every fact whole."""

import torch

from tests.benchmarks import timing
from workbench.papers.graphhop.model import Retriever

SIZES = {"toy": (2, 5, 8, 16, 2), "bert": (4, 25, 30, 768, 7)}
"""States, facts, tokens, width (§2.5) and rounds."""
LIMIT = 1e-5
"""Largest difference of two logits."""


@torch.no_grad()
def shortcut(name: str = "bert") -> dict[str, list[float]]:
    """Seconds of the naive head over those of the shortcut, one number a round, padding and all.

    The shortcut's one reading of the facts is counted. Raises `SystemExit` where logits differ.
    """
    states, facts, tokens, width, rounds = SIZES[name]
    torch.manual_seed(0)
    retriever = Retriever(torch.nn.Identity(), "forward", width, 4).eval().to(timing.device())
    draw = {"device": timing.device()}
    x, state = torch.randn(facts, tokens, width, **draw), torch.randn(states, tokens, width, **draw)
    there = torch.arange(tokens, **draw) < torch.randint(5, tokens + 1, (facts, 1), **draw)
    asked = torch.arange(tokens, **draw) < torch.randint(5, tokens + 1, (states, 1), **draw)
    logits: dict[str, torch.Tensor] = {}

    def naive() -> None:
        each = [part.repeat_interleave(facts, 0) for part in (state, asked)]
        rows = [part.repeat(states, *[1] * (part.ndim - 1)) for part in (x, there)]
        read = retriever.score_reading(*rows, *each)[:, 0]
        logits["naive"] = retriever.out(read)[:, 0].view(states, facts)

    def shortened() -> None:
        gists = retriever.gist(x, there).expand(states, -1, -1)
        logits["shortcut"] = retriever.logits(gists, state, asked)

    times = timing.interleaved({"naive": naive, "shortcut": shortened}, rounds)
    if (worst := (logits["naive"] - logits["shortcut"]).abs().max().item()) > LIMIT:
        raise SystemExit(f"the shortcut's logits are off by {worst:.2g}, limit {LIMIT:g}")
    return {"shortcut_ratio": timing.ratios(times, "naive", "shortcut")}
