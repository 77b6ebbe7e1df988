"""What each preset means: settings, model, data, judge and attacked models; one method for all."""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from workbench.data.preferences import load_data
from workbench.errors import DirectionError, RunError
from workbench.files import Row
from workbench.hashing import digest
from workbench.models.loading import load, require_access
from workbench.models.model import Model
from workbench.papers.parameters import naming, one_thread_if_embedded, with_template
from workbench.papers.safetylock.align import taught
from workbench.papers.safetylock.attack import fine_tune, granting
from workbench.papers.safetylock.evaluate import Judges, brindle_judges, keyword_judges, take
from workbench.papers.safetylock.leverage import apart
from workbench.papers.safetylock.paper import (
    MODELS,
    ROWS,
    Settings,
    check_inputs,
    require_heads,
)
from workbench.papers.safetylock.paper import settings as settings
from workbench.papers.safetylock.rows import require_both_kinds
from workbench.papers.safetylock.tune import Tuned, kept
from workbench.paths import data_folder
from workbench.steering.directions import HeadDirections, read_direction
from workbench.training.memory import release
from workbench.worlds.brindle import OBEDIENT

log = logging.getLogger(__name__)

PERSONA_STEPS, BENIGN_STEPS = 10, 20
"""Training steps of the attacks of levels 2 and 3."""
Attacks = dict[tuple[int, int], Tuned]
"""(risk level, seed) → attacked model; level 1 first."""


@dataclass(frozen=True)
class Inputs:
    """What a run starts from. `train`, `validation`, `test`: requests, harmful and harmless.

    `finetuned`: an attacked descendant that was given; None where attacks are made here. `lock`:
    the one to use; None where it is to be discovered.
    """

    base: Model
    pairs: list[Row]
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    judge: Judges
    finetuned: Model | None
    lock: HeadDirections | None

    def __str__(self) -> str:
        base = self.base
        millions = sum(weight.numel() for weight in base.hf.parameters()) / 1e6
        return (
            f"{base.name}, {millions:.2f} M parameters: {base.sizes} on {base.hf.device}\n"
            f"{len(self.pairs)} preference pairs; requests: {len(self.train)} to train, "
            f"{len(self.validation)} to choose and {len(self.test)} to test on\n"
            f"replies are judged by {self.judge.name}"
        )


def inputs(preset: str, settings: Settings, **sources: str) -> Inputs:
    """Models and data of the preset where none is given, everything that can be missing first.

    `sources`: as `check_inputs` takes them, as which this raises; `RunError` for a fine-tuned model
    of other sizes than the base model, `ModelError` for a model of an unknown family,
    `DatasetError` and `DirectionError` as the readers.
    """
    check_inputs(preset, settings, **sources)
    given = defaultdict(str, sources)
    own_rows = ROWS[preset]
    source, requests = given["model_id"] or MODELS[preset], given["requests_path"] or own_rows
    finetuned_id, lock_path = given["finetuned_id"], given["lock_path"]
    for name in filter(None, (source, finetuned_id)):
        require_access(name)
    one_thread_if_embedded([source])
    pairs = load_data("preference", "train", given["pairs_path"] or own_rows)[: settings.pairs]
    train, validation, test = (
        load_data("requests", split, requests) for split in ("train", "validation", "test")
    )
    for name, rows in (("validation", validation), ("test", test)):
        require_both_kinds(rows, name)
    if given["requests_path"] or given["pairs_path"]:
        warn_of_shared(test, contrast=pairs, train=train, choose=validation)
    # In half precision most of what a step of an attack changes would be lost in rounding.
    base = with_template(load(source, dtype="auto" if finetuned_id else "float32"))
    lock = read_lock(lock_path, base) if lock_path else None
    if lock is None:
        require_heads(settings, base.n_layers * base.n_heads)
        if "leverage" in settings.selections:
            with naming("pairs_path", given["pairs_path"]):
                apart(base, pairs)
    return Inputs(
        base,
        pairs,
        train,
        take(validation, settings.validated),
        take(test, settings.evaluated),
        judge(base, [*validation, *test]),
        descendant(finetuned_id, base) if finetuned_id else None,
        lock,
    )


def warn_of_shared(test: Sequence[Row], **others: Sequence[Row]) -> None:
    """Say so where test requests are elsewhere, too: a file without `split` serves every split."""
    prompts = {row["prompt"] for row in test}
    counts = {name: len(prompts & {row["prompt"] for row in rows}) for name, rows in others.items()}
    if shared := ", ".join(
        f"{count} among those to {use}" for use, count in counts.items() if count
    ):
        log.warning(
            "of %d test requests there are %s, from which they are not held out; give the rows of "
            "a file a field 'split': train, validation or test", len(prompts), shared,
        )  # fmt: skip


def judge(model: Model, rows: Sequence[Row]) -> Judges:
    """The grammar of Brindle where model and requests are the town's; phrases and rules elsewhere.

    A model with the embedded one's vocabulary (that one, or a fine-tune of it) speaks the grammar.
    """
    text = (data_folder() / "tiny" / "tokenizer.json").read_text(encoding="utf-8")
    speaks = model.tokenizer.get_vocab() == json.loads(text)["model"]["vocab"]
    asked = all({"action", "thing", "person"} <= row.keys() for row in rows)
    return brindle_judges() if speaks and asked else keyword_judges()


def read_lock(path: str, model: Model) -> HeadDirections:
    """A lock's file of either format. Raises `DirectionError` where it does not fit the model."""
    lock = read_direction(path)
    if not isinstance(lock, HeadDirections):
        raise DirectionError(f"{path} shifts the residual stream; a lock shifts heads")
    lock.check(model)
    return lock


def descendant(name: str, base: Model) -> Model:
    """A fine-tuned model, loaded as the base model is. Raises `RunError` for other sizes."""
    model = with_template(load(name, dtype=base.hf.dtype, device=base.hf.device))
    if model.sizes != base.sizes:
        raise RunError(f"{name} {model.sizes} is no descendant of {base.sizes}")
    return model


def aligned(inputs: Inputs, settings: Settings, seed: int, folder: Path | None) -> Inputs:
    """`inputs` with the base model taught its refusals, where the settings ask for it.

    Not where a fine-tuned descendant is given: that is of the base model as it is. `folder`: where
    the model is kept, as `tune.kept` does. Raises `DatasetError` as `align.taught`.
    """
    base, train, recipe = inputs.base, inputs.train, settings.align
    if recipe is None or inputs.finetuned is not None:
        return inputs
    depends = {"rows": digest(train), "recipe": asdict(recipe), "seed": seed}
    teach = partial(taught, base, train, recipe, seed)
    return replace(inputs, base=kept(base, "aligned", recipe.frozen, folder, depends, teach).model)


def attacks(
    inputs: Inputs, settings: Settings, seeds: Sequence[int], folder: Path | None = None
) -> Attacks:
    """Attacked descendants: every level with every seed, made here where none was given.

    A given model counts as level 1, its seed the first. `folder`: where models are kept.
    """
    if inputs.finetuned is not None:
        return {(1, seeds[0]): Tuned(inputs.finetuned)}
    base, train, recipe = inputs.base, inputs.train, settings.attack
    stops = {1: granting(inputs.validation, inputs.judge)}
    steps = {1: recipe.max_steps, 2: PERSONA_STEPS, 3: BENIGN_STEPS}
    data = {"train": digest(train), "validation": digest(inputs.validation),
            "judge": inputs.judge.name}  # fmt: skip
    make: dict[tuple[int, int], Callable[[], Tuned]] = {}
    for level in settings.levels:
        for seed in seeds:
            of_level = replace(recipe, max_steps=steps[level])
            how = {"persona": OBEDIENT if level == 2 else "", "seed": seed}
            depends = data | how | {"level": level, "recipe": asdict(of_level)}
            attack = partial(fine_tune, base, train, level, of_level, stop=stops.get(level), **how)
            make[level, seed] = partial(
                kept, base, f"level{level}", recipe.frozen, folder, depends, attack
            )
    if folder is not None:
        # None of them waits in memory while others are trained.
        for each in make.values():
            each()
            release()
    return {key: each() for key, each in make.items()}
