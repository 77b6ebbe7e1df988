"""The exact shortcut of graph-hop's scores beside the naive head, which reads every fact whole."""

from tests.benchmarks import timing
from workbench.papers.graphhop import costs

SIZES = {"toy": (2, 5, 8, 16, 2), "bert": (4, 25, 30, 768, 7)}
"""States, facts, tokens, width (§2.5) and rounds."""


def shortcut(name: str = "bert") -> dict[str, list[float]]:
    """`costs.shortcut`, one number a round. Raises `ArithmeticError` where logits differ."""
    return {"shortcut_ratio": costs.shortcut(*SIZES[name], device=str(timing.device()))}
