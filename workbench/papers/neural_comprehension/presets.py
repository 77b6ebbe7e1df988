"""Settings, model, stories and stages of a preset. The method is the same in all of them."""

from typing import Any

from workbench.models.forward_state import forward_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers import parameters
from workbench.papers.neural_comprehension.paper import MODELS, STAGES, Settings, check_model
from workbench.papers.neural_comprehension.paper import settings as settings
from workbench.papers.neural_comprehension.stories import (
    coins_by_flips,
    pens_by_digits,
    published_stories,
)
from workbench.papers.neural_comprehension.study import Fit, engine


def model(preset: str, model_id: str = "") -> Model:
    """The preset's model, or the one given. Raises as `check_model` and `models.load`."""
    check_model(preset, model_id)
    name = model_id or MODELS[preset]
    parameters.one_thread_if_embedded([name])
    return load(name)


def words(preset: str, settings: Settings, data_path: str = "") -> dict[str, Any]:
    """Kind → size → word problems: ours, and GSM-Hard's at the paper preset, or a file's.

    Raises as `published_stories`.
    """
    pens = pens_by_digits(settings.digits, settings.stories, settings.seed)
    sets: dict[str, Any] = {"pens": pens}
    if preset == "paper" or data_path:
        parameters.check_file("data_path", data_path)
        with parameters.naming("data_path", data_path):
            published = published_stories(data_path, settings.rows)
        sets |= {f"hard_{name}": {0: stories} for name, stories in published.items()}
    return sets


def fit(preset: str, settings: Settings, t5_id: str = "") -> Fit | None:
    """Stages of training on stories of coins: the embedded models' at tiny, T5's own at paper.

    Raises as transformers for a T5 that cannot be loaded.
    """
    if preset == "small":
        return None
    stories = coins_by_flips(settings.flips, settings.stories, settings.seed)
    if preset == "tiny":
        models = {stage: load(name) for name, stage in STAGES.items()}
        key = {stage: model.identity() for stage, model in models.items()}
        writes = {stage: engine(model) for stage, model in models.items()}
        return Fit(key | {"told": sizes(settings)}, stories, lambda: iter(writes.items()))
    from workbench.papers.neural_comprehension import t5

    model, tokenizer = t5.load(t5_id)
    key = {"t5": forward_digest(model), "epochs": settings.epochs, "told": sizes(settings)}
    return Fit(key, stories, lambda: (
        (f"epoch_{epoch}", t5.writer(model, tokenizer))
        for epoch in t5.tuned(model, tokenizer, settings.epochs, settings.seed)
    ))  # fmt: skip


def sizes(settings: Settings) -> dict[str, Any]:
    """Which stories of coins are told."""
    return {"flips": settings.flips, "stories": settings.stories}
