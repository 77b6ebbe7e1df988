"""The log of a training step: its means, whether they are finite, which features moved."""

import json
import math
from pathlib import Path

import torch

from workbench.papers.fpo.losses import Terms
from workbench.writing import disk_errors, whole

SATURATED = 10.0
"""|constraint| over |score margin| above which training is dominated by the constraint (§5.9)."""
TIMELINE = 200
"""Features kept for each logged step."""


def per_pair(
    u: torch.Tensor,
    score: torch.Tensor,
    penalty: torch.Tensor | None,
    terms: Terms,
    beta: float,
) -> dict[str, torch.Tensor]:
    """Logged values per pair `[b]`: TRL's names, with β·s(y) as reward, and the parts of u."""
    chosen, rejected = score.chunk(2)
    logp_chosen, logp_rejected = terms.logps.chunk(2)
    out = {
        "logps/chosen": logp_chosen,
        "logps/rejected": logp_rejected,
        "rewards/chosen": beta * chosen,
        "rewards/rejected": beta * rejected,
        "rewards/margins": beta * (chosen - rejected),
        "rewards/accuracies": (chosen > rejected).float(),
        "fpo/margin": beta * (chosen - rejected),
        "fpo/u": u,
    }
    if penalty is not None:
        out["fpo/constraint"] = penalty
    if terms.kl is not None:
        out["kl/chosen"], out["kl/rejected"] = terms.kl.chunk(2)
    if terms.distance is not None:
        out["fpo/d_chosen"], out["fpo/d_rejected"] = terms.distance.chunk(2)
    return out


def checked(
    values: dict[str, torch.Tensor], means: list[float], rows: torch.Tensor | None, mode: str
) -> dict[str, float]:
    """Means by name, with `fpo/constraint_to_margin`.

    `values`: of this process, `[b]` each; `means`: over all processes. Raises `FloatingPointError`
    naming pair and term where one is not finite, before anything is updated.
    """
    out = dict(zip(values, means, strict=True))
    if not all(map(math.isfinite, means)):
        raise FloatingPointError(_not_finite(values, rows, mode))
    if "fpo/constraint" in out:
        margin = max(abs(out["fpo/margin"]), 1e-12)
        out["fpo/constraint_to_margin"] = abs(out["fpo/constraint"]) / margin
    return out


def saturated(means: dict[str, float]) -> bool:
    """Whether the constraint dwarfs the margin; at the start both are rounding, and it is not."""
    return (
        means.get("fpo/constraint_to_margin", 0.0) > SATURATED
        and abs(means["fpo/constraint"]) > 0.1
    )


class Timeline:
    """Share of each feature in D(rejected), per logged step, in `feature_timeline.jsonl`.

    A line: `step`, `d_rejected` (mean over the batches since the last one, of the main process),
    `features` and `shares`, the largest `TIMELINE` of them, falling.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "feature_timeline.jsonl"
        self._sum: torch.Tensor | None = None
        self._batches = 0
        self._begun = False

    def add(self, shares: torch.Tensor) -> None:
        """Count a batch in: `FeatureDistance.shares` `[2b, m]`, chosen first."""
        mean = shares[len(shares) // 2 :].mean(0)
        self._sum = mean if self._sum is None else self._sum + mean
        self._batches += 1

    def write(self, step: int) -> None:
        """Append a line, and start anew; nothing where no batch was counted."""
        if self._sum is None:
            return
        shares, self._sum = self._sum / self._batches, None
        self._batches = 0
        value, index = shares.topk(min(TIMELINE, len(shares)))
        positive = value > 0
        line = {
            "step": step,
            "d_rejected": float(shares.sum()),
            "features": index[positive].tolist(),
            "shares": value[positive].tolist(),
        }
        if not self._begun:
            self._begun = True
            self._keep_before(step)
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _keep_before(self, step: int) -> None:
        """Drop what a training that was killed wrote of this step and those after it."""
        lines = self.path.read_text("utf-8", "replace").splitlines() if self.path.exists() else []
        with whole(self.path) as partial, partial.open("w", encoding="utf-8") as file:
            for line in lines:
                try:
                    earlier = json.loads(line)["step"] < step
                except (ValueError, LookupError, TypeError, RecursionError):  # half a line
                    continue
                if earlier:
                    file.write(line + "\n")


def _not_finite(values: dict[str, torch.Tensor], rows: torch.Tensor | None, mode: str) -> str:
    """Error text naming the pair and the term that went wrong first."""
    for name, value in values.items():
        bad = (~value.isfinite()).nonzero()[:, 0]
        if len(bad):
            pair = int(rows[bad[0]]) if rows is not None else int(bad[0])
            return (
                f"{mode} pair {pair}: {name} is {value[bad[0]].item()}. Nothing was updated. Train "
                "in bfloat16 or float32 rather than float16, lower learning_rate or fpo_alpha, or "
                "remove the pair."
            )
    return f"{mode}: a loss is not finite on another process; its log names the pair"
