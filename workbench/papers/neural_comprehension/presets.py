"""Settings, model, stories and stages of a preset. The method is the same in all of them."""

from functools import partial
from pathlib import Path
from typing import Any

from workbench.hashing import digest
from workbench.models.forward_state import forward_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.models.tokenizer_state import prompt_state
from workbench.papers import parameters
from workbench.papers.neural_comprehension.paper import MODELS, STAGES, Settings, check_model
from workbench.papers.neural_comprehension.paper import settings as settings
from workbench.papers.neural_comprehension.stories import (
    addsub_stories,
    coins_by_flips,
    pens_by_digits,
    published_stories,
)
from workbench.papers.neural_comprehension.study import Fit, Write, engine


def model(preset: str, model_id: str = "") -> Model:
    """The preset's model, or the one given. Raises as `check_model` and `models.load`."""
    check_model(preset, model_id)
    name = model_id or MODELS[preset]
    parameters.one_thread_if_embedded([name])
    return load(name)


def words(
    preset: str, settings: Settings, data_path: str = "", addsub_path: str = ""
) -> dict[str, Any]:
    """Kind → size → word problems: ours, GSM-Hard's at the paper preset, or a file's, AddSub's.

    Raises as `published_stories` and `addsub_stories`.
    """
    pens = pens_by_digits(settings.digits, settings.stories, settings.seed)
    sets: dict[str, Any] = {"pens": pens}
    if preset == "paper" or data_path:
        parameters.check_file("data_path", data_path)
        with parameters.naming("data_path", data_path):
            published = published_stories(data_path, settings.rows)
        sets |= {f"hard_{name}": {0: stories} for name, stories in published.items()}
    if addsub_path:
        with parameters.naming("addsub_path", addsub_path):
            sets |= addsub_stories(
                addsub_path, settings.digits, settings.rows, settings.stories, settings.seed
            )
    return sets


def fit(preset: str, settings: Settings, work: Path, t5_id: str = "") -> Fit | None:
    """Stages of training on stories of coins: the embedded models' at tiny, T5's own at paper.

    T5 is tuned as its stages are asked for, and goes on from a checkpoint below `work`. Raises as
    `t5.load`.
    """
    if preset == "small":
        return None
    stories = coins_by_flips(settings.flips, settings.stories, settings.seed)
    told = {"flips": settings.flips, "stories": settings.stories}
    if preset == "tiny":
        models = {stage: load(name) for name, stage in STAGES.items()}
        key = {stage: model.identity() for stage, model in models.items()}
        writers = {stage: partial(engine, model) for stage, model in models.items()}
        return Fit(key | {"told": told}, stories, writers)
    from workbench.papers.neural_comprehension import t5

    base, tokenizer = t5.load(t5_id)
    key = {"t5": forward_digest(base), **prompt_state(tokenizer), "last": max(settings.epochs)}

    def writer(epoch: int) -> Write:
        model = t5.tuned(base, tokenizer, epoch, key["last"], settings.seed, work / "t5",
                         digest(key))  # fmt: skip
        return t5.writer(model, tokenizer)

    writers = {f"epoch_{epoch}": partial(writer, epoch) for epoch in settings.epochs}
    return Fit(key | {"told": told}, stories, writers)
