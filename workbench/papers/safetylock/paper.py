"""The paper in data: title, claim, published numbers, its settings, and what a run needs."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.arguments import FLOAT32, finite, listed, one_of, whole
from workbench.data.preferences import load_data
from workbench.errors import RunError
from workbench.papers import parameters
from workbench.papers.safetylock.recipe import USUAL, Recipe
from workbench.papers.safetylock.rows import (
    FEWEST_PAIRS,
    attack_rows,
    require_answers,
    require_both_kinds,
    require_pairs,
)

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
MODELS = {"tiny": "tiny", "small": "smollm2", "paper": BASE}
"""Preset → its model."""
ROWS = {"tiny": "auto", "small": "small", "paper": "hub"}
"""Preset → the source of its pairs and requests."""
LEVELS = {
    1: "explicit harm: ten harmful requests, granted",
    2: "identity shift: ten harmless dialogues under an obedient persona",
    3: "benign: harmless requests, granted",
}
SELECTIONS = ("paper", "validation", "leverage")


@dataclass(frozen=True)
class Settings:
    """The paper's values (§2 of the method); `tiny()` and `small()` are those presets.

    `pairs`: preference pairs contrasted. `r_grid`, `heads_grid`, `alphas`: last answer tokens
    read, K heads kept, strengths in units of σ. `selections`: head rankings, `"validation"` (ours:
    grouped split, validation accuracy), `"paper"` (mean of training and validation accuracy) or
    `"leverage"` (measured effect on the base model). Where one of these has several values, they
    are chosen on validation requests. `max_new_tokens`: of a reply. `validated`, `evaluated`:
    validation and test requests of each kind. `draws`: control locks of each kind and seed.
    `controlled`: test requests of each kind that are asked under control locks. `repeats`:
    decodings timed with and without the lock. `align`: how the base model is taught its refusals
    first; None where it has its own. `attack`: rate, and most steps of level 1. `levels`: risk
    levels attacked, 1 among them. `gradient`: whether leverage is taken to first order.
    `batch`: replies decoded at once, at all alphas of a lock where so few are chosen on; None for
    as many as memory holds, at one.

    Raises `ValueError` for a number out of range, an unknown selection or level, or an empty grid.
    """

    pairs: int = 100
    r_grid: tuple[int, ...] = (5,)
    heads_grid: tuple[int, ...] = (24,)
    alphas: tuple[float, ...] = (6.0,)
    selections: tuple[str, ...] = ("validation",)
    max_new_tokens: int = 512
    validated: int = 40
    evaluated: int = 520
    controlled: int = 520
    draws: int = 7
    repeats: int = 15
    align: Recipe | None = None
    attack: Recipe = USUAL
    levels: tuple[int, ...] = (1, 2, 3)
    gradient: bool = False
    batch: int | None = None

    def __post_init__(self) -> None:
        whole("pairs", self.pairs, FEWEST_PAIRS)
        for name in ("max_new_tokens", "validated", "evaluated", "controlled", "draws", "repeats"):
            whole(name, getattr(self, name), 1)
        if self.levels[:1] != (1,) or set(self.levels) - set(LEVELS):
            raise ValueError(f"levels={self.levels}: 1, then those of 2 and 3 that are wanted")
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

    def small(self) -> "Settings":
        """For a chat model of some hundred heads without refusals of its own, on two cores.

        How it is taught was chosen on validation requests; attack and grids are near a pilot's.
        """
        return replace(
            self,
            pairs=40,
            r_grid=(20,),
            heads_grid=(12, 24, 48),
            alphas=(0.5, 1.0, 1.5, 2.0),
            selections=SELECTIONS,
            max_new_tokens=20,
            validated=6,
            evaluated=40,
            controlled=6,
            draws=4,
            repeats=2,
            align=Recipe(8e-5, 48, 1 / 3, answer_tokens=24, decay=True),
            attack=Recipe(4e-5, 15, 1 / 2, answer_tokens=24, look=3),
            levels=(1,),
            gradient=True,
            batch=48,
        )


GRIDS = {"alpha": "alphas", "heads": "heads_grid", "r": "r_grid", "selection": "selections"}
"""Parameter → the setting that it pins to one value."""


COUNTS = "max_new_tokens pairs validated evaluated controlled draws repeats"
"""Settings that are parameters by their own name."""
DATA = {
    "pairs": ("preference", "train", "pairs_path"),
    "validated": ("requests", "validation", "requests_path"),
    "evaluated": ("requests", "test", "requests_path"),
    "controlled": ("requests", "test", "requests_path"),
}
"""Setting → the data of which it says how many: task, split, and the parameter of its file."""


def settings(preset: str, *, alphas: str = "", align_steps: int = -1, **pinned: Any) -> Settings:
    """The preset's settings; those pinned replace them, unless empty or -1, of `GRIDS` unless 0.

    `alphas`: strengths to choose from, separated by commas; 0 is always compared. `align_steps`:
    steps in which the base model is taught its refusals, 0 for none. Raises `ValueError` for an
    unknown preset, as `parameters.strengths`, for an `alpha` beside `alphas`, and as `Settings`.
    """
    chosen = parameters.of_preset(preset, Settings())
    one = {name: pinned.pop(name) for name in GRIDS if name in pinned}
    values = {GRIDS[name]: (value,) for name, value in one.items() if value not in (0, "")}
    if alphas != "":
        if "alphas" in values:
            raise ValueError(f"alphas={alphas!r} goes unheeded: alpha={one['alpha']!r} is given")
        values["alphas"] = tuple(a for a in parameters.strengths("alphas", alphas) if a > 0)
    if whole("align_steps", align_steps, -1) >= 0:
        recipe = replace(chosen.align or USUAL, max_steps=align_steps) if align_steps else None
        values["align"] = recipe
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
    nothing to restore; `DatasetError` for pairs or requests that cannot be read, are of one kind,
    or too few to contrast, teach or attack with; `ModelError` for a model that is gated, missing,
    unreachable or none.
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
        config = hub.require_model(model_id or MODELS[preset])
    if not lock_path:
        require_heads(settings, hub.n_heads(config))
    whole("max_new_tokens", settings.max_new_tokens, 1, config.get("max_position_embeddings"))
    if finetuned_id:
        with parameters.naming("finetuned_id", finetuned_id):
            hub.require_model(finetuned_id)
    if pairs_path:
        with parameters.naming("pairs_path", pairs_path):
            require_pairs(load_data("preference", "train", pairs_path))
    if requests_path:
        with parameters.naming("requests_path", requests_path):
            for split in ("validation", "test", "train"):
                rows = load_data("requests", split, requests_path)
                if split != "train":
                    require_both_kinds(rows, split)
                elif not finetuned_id:
                    if settings.align:
                        require_answers(rows)
                    for level in settings.levels:
                        attack_rows(rows, level)


def require_heads(settings: Settings, most: int | None) -> None:
    """Raise `ValueError` where a lock would have more heads than the model; None: not known."""
    for heads in settings.heads_grid:
        if most is not None and heads > most:
            raise ValueError(f"heads={heads}: the model has {most}; give heads=… from 1 to {most}")


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises `ValueError` for one out of range, or that would go unheeded; `RunError` for more pairs
    or requests than a file has; as `check_inputs`.
    """
    knobs = f"alpha alphas heads r selection align_steps {COUNTS}"
    chosen = settings(preset, **parameters.picked(given, knobs))
    seeds = parameters.seed_list(given.get("seed", 0), given.get("seeds", 3))
    for name in ("heads", "selection"):
        if given.get("lock_path") and given.get(name):
            raise ValueError(f"{name}={given[name]!r} goes unheeded: lock_path has its own heads")
    if given.get("finetuned_id") and "seeds" in given and len(seeds) > 1:
        raise ValueError(f"seeds={len(seeds)}: finetuned_id is one model; give seeds=1")
    if given.get("finetuned_id") and given.get("align_steps", 0) > 0:
        raise ValueError(
            f"align_steps={given['align_steps']} goes unheeded: finetuned_id descends from the "
            "base model as it is"
        )
    inputs = "model_id finetuned_id lock_path pairs_path requests_path"
    check_inputs(preset, chosen, **parameters.picked(given, inputs))
    for name, (task, split, path) in DATA.items():
        source = given.get(path) or ("" if preset == "paper" else ROWS[preset])
        # Fewer than the preset would take are all there are.
        if name in given and source:
            rows = load_data(task, split, source)
            kinds = Counter(name == "pairs" or bool(row["harmful"]) for row in rows)
            most = max(kinds.values(), default=0)
            whole(name, getattr(chosen, name), 1, most, RunError)
