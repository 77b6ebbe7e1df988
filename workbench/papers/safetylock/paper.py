"""The paper in data: title, claim, published numbers, its settings, and what a run needs."""

from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.errors import RunError

TITLE = "Locking Down the Finetuned LLMs Safety"
NOTEBOOK = "01_safetylock.ipynb"
CLAIM = (
    "Safety directions found once in a base model, added to any fine-tuned descendant, restore its "
    "refusals at no inference cost."
)

_TABLE_A = "Table A: fine-tuned model (figure), without / with the lock"
PUBLISHED = [
    {"metric": metric, "model": model, "dataset": dataset, "value": value, "table": _TABLE_A}
    for model, dataset, metric, value in (
        ("Llama-3-8B-Instruct fine-tuned", "AdvBench", "asr_attacked", 49.23),
        ("Llama-3-8B-Instruct + SafetyLock", "AdvBench", "asr_locked", 0.19),
        ("Llama-3-8B-Instruct fine-tuned", "HEx-PHI", "harmfulness_rate_attacked", 70.01),
        ("Llama-3-8B-Instruct + SafetyLock", "HEx-PHI", "harmfulness_rate_locked", 3.33),
        ("Llama-3-8B-Instruct fine-tuned", "HEx-PHI", "harmfulness_score_attacked", 4.13),
        ("Llama-3-8B-Instruct + SafetyLock", "HEx-PHI", "harmfulness_score_locked", 1.36),
        ("Llama-3-70B-Instruct fine-tuned", "AdvBench", "asr_attacked", 44.81),
        ("Llama-3-70B-Instruct + SafetyLock", "AdvBench", "asr_locked", 3.33),
        ("Llama-3-70B-Instruct fine-tuned", "HEx-PHI", "harmfulness_rate_attacked", 45.76),
        ("Llama-3-70B-Instruct + SafetyLock", "HEx-PHI", "harmfulness_rate_locked", 3.64),
        ("Llama-3-70B-Instruct fine-tuned", "HEx-PHI", "harmfulness_score_attacked", 3.11),
        ("Llama-3-70B-Instruct + SafetyLock", "HEx-PHI", "harmfulness_score_locked", 1.16),
    )
]
"""Percentages, except the scores (1 to 5). Two rates fit no whole count of prompts: 70.01 of 330
HEx-PHI prompts and 3.33 of 520 AdvBench prompts (70B) are approximate as published."""

BASE = "meta-llama/Meta-Llama-3-8B-Instruct"
SELECTIONS = ("paper", "validation", "leverage")


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed, before any library is loaded for it.

    Raises `RunError` for `preset=paper` without a fine-tuned model, as there is nothing to restore;
    `ModelError` for a model that is gated, missing or unreachable.
    """
    if preset != "paper":
        return
    if not given.get("finetuned_id"):
        raise RunError(
            "preset=paper restores a fine-tuned descendant of the base model: give yours with "
            f"-p finetuned_id=FOLDER_OR_HUB_ID (of {BASE}, or of your -p model_id)"
        )
    for source in (given.get("model_id") or BASE, given["finetuned_id"]):
        hub.require(source)


@dataclass(frozen=True)
class Settings:
    """The paper's values (§2 of the method); `tiny()` is the tiny preset.

    `pairs`: preference pairs contrasted. `r_grid`, `heads_grid`, `alphas`: last answer tokens
    read, K heads kept, strengths in units of σ. `selections`: head rankings, `"validation"` (ours:
    grouped split, validation accuracy), `"paper"` (mean of training and validation accuracy) or
    `"leverage"` (measured effect on the base model). Where one of these has several values, they
    are chosen on validation requests. `validated`, `evaluated`: validation and test requests of
    each kind. `draws`: control locks of each kind and seed.
    """

    pairs: int = 100
    r_grid: tuple[int, ...] = (5,)
    heads_grid: tuple[int, ...] = (24,)
    alphas: tuple[float, ...] = (6.0,)
    selections: tuple[str, ...] = ("validation",)
    max_new_tokens: int = 512
    validated: int = 40
    evaluated: int = 520
    draws: int = 7

    def tiny(self) -> "Settings":
        """For 32 heads: a larger share of them is shifted, so useful alpha is smaller."""
        return replace(
            self,
            heads_grid=(6, 12),
            alphas=(0.5, 1.0, 1.5, 1.75, 2.0),
            selections=SELECTIONS,
            max_new_tokens=72,
            evaluated=80,
        )
