"""The paper in data: title, claim, published numbers, its settings, and what a run needs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.arguments import FLOAT32, finite, listed, one_of, whole
from workbench.data.preferences import load_data
from workbench.errors import DatasetError, RunError
from workbench.files import Row
from workbench.papers import parameters

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
FEWEST_PAIRS = 10
"""Fewer preference pairs make no contrast."""


@dataclass(frozen=True)
class Settings:
    """The paper's values (§2 of the method); `tiny()` is the tiny preset.

    `pairs`: preference pairs contrasted. `r_grid`, `heads_grid`, `alphas`: last answer tokens
    read, K heads kept, strengths in units of σ. `selections`: head rankings, `"validation"` (ours:
    grouped split, validation accuracy), `"paper"` (mean of training and validation accuracy) or
    `"leverage"` (measured effect on the base model). Where one of these has several values, they
    are chosen on validation requests. `max_new_tokens`: of a reply. `validated`, `evaluated`:
    validation and test requests of each kind. `draws`: control locks of each kind and seed.
    `repeats`: decodings timed with and without the lock.

    Raises `ValueError` for a number out of range, an unknown selection, or an empty grid.
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
    repeats: int = 15

    def __post_init__(self) -> None:
        whole("pairs", self.pairs, FEWEST_PAIRS)
        for name in ("max_new_tokens", "validated", "evaluated", "draws", "repeats"):
            whole(name, getattr(self, name), 1)
        for name, values in (("heads", self.heads_grid), ("r", self.r_grid)):
            for value in listed(name, values):
                whole(name, value, 1)
        for alpha in listed("alphas", self.alphas):
            finite("alpha", alpha, most=FLOAT32, above=0)
        for selection in listed("selection", self.selections):
            one_of("selection", selection, SELECTIONS)

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


GRIDS = {"alpha": "alphas", "heads": "heads_grid", "r": "r_grid", "selection": "selections"}
"""Parameter → the setting that it pins to one value."""


COUNTS = "max_new_tokens pairs validated evaluated draws repeats"
"""Settings that are parameters by their own name."""
ROWS = {
    "pairs": ("preference", "train", "pairs_path"),
    "validated": ("requests", "validation", "requests_path"),
    "evaluated": ("requests", "test", "requests_path"),
}
"""Setting → the data of which it says how many: task, split, and the parameter of its file."""


def settings(preset: str, *, alphas: str = "", **pinned: Any) -> Settings:
    """The preset's settings; those pinned replace them, unless empty or -1, of `GRIDS` unless 0.

    `alphas`: strengths to choose from, separated by commas; 0 is always compared. Raises
    `ValueError` for an unknown preset, as `parameters.strengths`, for an `alpha` beside `alphas`,
    and as `Settings`.
    """
    chosen = parameters.of_preset(preset, Settings())
    one = {name: pinned.pop(name) for name in GRIDS if name in pinned}
    values = {GRIDS[name]: (value,) for name, value in one.items() if value not in (0, "")}
    if alphas != "":
        if "alphas" in values:
            raise ValueError(f"alphas={alphas!r} goes unheeded: alpha={one['alpha']!r} is given")
        values["alphas"] = tuple(a for a in parameters.strengths("alphas", alphas) if a > 0)
    return replace(chosen, **values, **parameters.given(pinned))


def check_inputs(
    preset: str,
    settings: Settings,
    *,
    model_id: str = "",
    finetuned_id: str = "",
    lock_path: str = "",
    pairs_path: str = "",
    requests_path: str = "",
) -> None:
    """Refuse models and data that cannot serve, before any library is loaded for them.

    Raises `ValueError` for a path that is no file, more heads than the base model has, or replies
    longer than it can read; `RunError` for `preset=paper` without a fine-tuned model, as there is
    nothing to restore; `DatasetError` for pairs or requests that cannot be read, or are of one
    kind; `ModelError` for a model that is gated, missing, unreachable or none.
    """
    if preset == "paper" and not finetuned_id:
        raise RunError(
            "preset=paper restores a fine-tuned descendant of the base model: give yours with "
            f"-p finetuned_id=FOLDER_OR_HUB_ID (of {BASE}, or of your -p model_id)"
        )
    parameters.check_file("lock_path", lock_path)
    parameters.check_file("pairs_path", pairs_path)
    parameters.check_file("requests_path", requests_path)
    with parameters.naming("model_id", model_id):
        config = hub.require_model(model_id or (BASE if preset == "paper" else "tiny"))
    for heads in settings.heads_grid:
        whole("heads", heads, 1, hub.n_heads(config))
    whole("max_new_tokens", settings.max_new_tokens, 1, config.get("max_position_embeddings"))
    if finetuned_id:
        with parameters.naming("finetuned_id", finetuned_id):
            hub.require_model(finetuned_id)
    if pairs_path:
        with parameters.naming("pairs_path", pairs_path):
            load_data("preference", "train", pairs_path)
    if requests_path:
        with parameters.naming("requests_path", requests_path):
            for split in ("train", "validation", "test"):
                rows = load_data("requests", split, requests_path)
                if split != "train":
                    require_both_kinds(rows, split)


def require_both_kinds(rows: Sequence[Row], name: str) -> None:
    """Refuse requests of one kind only: a rate over no requests is none.

    Raises `DatasetError` naming the kind that is missing.
    """
    for harmful, kind in ((True, "harmful"), (False, "harmless")):
        if all(bool(row["harmful"]) != harmful for row in rows):
            raise DatasetError(
                f"the {name} requests hold no {kind} ones: attack success and help are measured "
                "side by side, give rows of both kinds (field 'harmful')"
            )


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises `ValueError` for one out of range, or that would go unheeded; `RunError` for more pairs
    or requests than a file has; as `check_inputs`.
    """
    knobs = f"alpha alphas heads r selection {COUNTS}"
    chosen = settings(preset, **parameters.picked(given, knobs))
    seeds = parameters.seed_list(given.get("seed", 0), given.get("seeds", 3))
    for name in ("heads", "selection"):
        if given.get("lock_path") and given.get(name):
            raise ValueError(f"{name}={given[name]!r} goes unheeded: lock_path has its own heads")
    if given.get("finetuned_id") and "seeds" in given and len(seeds) > 1:
        raise ValueError(f"seeds={len(seeds)}: finetuned_id is one model; give seeds=1")
    inputs = "model_id finetuned_id lock_path pairs_path requests_path"
    check_inputs(preset, chosen, **parameters.picked(given, inputs))
    for name, (task, split, path) in ROWS.items():
        source = given.get(path) or ("" if preset == "paper" else "auto")
        # Fewer than the preset would take are all there are.
        if name in given and source:
            rows = load_data(task, split, source)
            kinds = Counter(name == "pairs" or bool(row["harmful"]) for row in rows)
            most = max(kinds.values(), default=0)
            whole(name, getattr(chosen, name), 1, most, RunError)
