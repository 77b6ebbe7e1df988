"""Training a copy of a model on answers: the one loop of alignment and attacks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from workbench.errors import RunError
from workbench.files import Row
from workbench.hashing import digest
from workbench.models.model import Model
from workbench.models.prompts import encode, messages, padded
from workbench.models.token_ids import end_token
from workbench.papers.safetylock.recipe import Recipe
from workbench.reading import read_json
from workbench.training.memory import release
from workbench.training.resume import fault, seal
from workbench.writing import whole, write_json

log = logging.getLogger(__name__)

WEIGHTS, ABOUT = "trained.safetensors", "training.json"
TOGETHER = 2
"""Texts whose activations are in memory at once where a model is large enough to be frozen."""
Answer = Callable[[Row], str]
"""The answer of a row that a training teaches."""


@dataclass(frozen=True)
class Tuned:
    """A model, the system prompt that it must be tested with, and the steps it was trained for."""

    model: Model
    system: str = ""
    steps: int = 0


def tuned(
    base: Model,
    name: str,
    draw: Callable[[], Sequence[Row]],
    answer: Answer,
    recipe: Recipe,
    *,
    system: str = "",
    stop: Callable[[Model], bool] | None = None,
) -> Tuned:
    """A copy of `base` trained by AdamW without weight decay, under the system prompt `system`.

    Without dropout, so that the rows alone say what comes out. `draw` gives the rows of a step;
    `stop(model)` is asked every `recipe.look` steps. What the recipe leaves as it is, the copy
    shares with `base`: one place in memory for both.
    """
    model = copied(base, name, recipe.frozen)
    trained = [weight for weight in model.hf.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=0.0)
    steps = 0
    for _ in tqdm(range(recipe.max_steps), desc=name, unit="step", leave=False):
        _backward(model, draw(), answer, system, recipe)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if recipe.decay:
            optimizer.param_groups[0]["lr"] = recipe.lr * (1 - steps / recipe.max_steps)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
        if stop is not None and steps % recipe.look == 0 and stop(model):
            break
    return Tuned(model, system, steps)


def copied(base: Model, name: str, frozen: float) -> Model:
    """A copy that shares with `base` all but the layers above the share `frozen` of its depth.

    With `frozen` above 0 embeddings, last norm and head are shared, too; what is shared is not
    trained. With 0 it shares nothing.
    """
    if not frozen:
        return base.clone(name)
    first = round(frozen * base.n_layers)
    names = {module: path for path, module in base.hf.named_modules()}
    own = tuple(f"{names[base.layer(i)]}." for i in range(first, base.n_layers))
    return base.clone(name, shared=lambda weight: not weight.startswith(own))


def kept(
    base: Model,
    name: str,
    frozen: float,
    folder: Path | None,
    depends: dict[str, Any],
    train: Callable[[], Tuned],
) -> Tuned:
    """`train()`, or what it gave before: weights that differ from `base`'s, sealed in `folder`.

    `depends`: all that the training depends on besides the base model. No folder keeps nothing.
    """
    if folder is None:
        return train()
    key = digest({**base.identity(), "frozen": frozen, **depends})
    place = folder / f"{name}-{key}".replace("/", "-")
    if place.exists():
        if not (wrong := fault(place, key)):
            about = read_json(place / ABOUT, RunError)
            model = copied(base, about["name"], frozen)
            model.hf.load_state_dict(load_file(place / WEIGHTS), strict=False)
            return Tuned(model, about["system"], about["steps"])
        log.warning("%s: %s; it is trained again", place, wrong)
    tuned_ = train()
    release()
    of_base = dict(base.hf.named_parameters())
    own = {n: w.detach() for n, w in tuned_.model.hf.named_parameters()
           if w.data_ptr() != of_base[n].data_ptr()}  # fmt: skip
    about = {"name": tuned_.model.name, "system": tuned_.system, "steps": tuned_.steps}
    with whole(place) as partial:
        partial.mkdir()
        save_file(own, partial / WEIGHTS)
        write_json(partial / ABOUT, about)
        seal(partial, key)
    return tuned_


def _backward(
    model: Model, rows: Sequence[Row], answer: Answer, system: str, recipe: Recipe
) -> None:
    """Add the gradient of the mean next-token loss on the answers and their end token, or on their
    first tokens."""
    texts, tokens = [], recipe.answer_tokens
    end_token(model.tokenizer)
    for row in rows:
        turn = {"role": "assistant", "content": answer(row)}
        encoded = encode(model, [*messages(row["prompt"], system), turn])
        ids = [*encoded.ids, model.tokenizer.eos_token_id]
        texts.append((ids[: encoded.start + tokens] if tokens else ids, encoded.start))
    learned = sum(len(ids) - start for ids, start in texts)
    size = TOGETHER if recipe.frozen else len(texts)
    for part in (texts[i : i + size] for i in range(0, len(texts), size)):
        share = sum(len(ids) - start for ids, start in part) / learned
        (share * _loss(model, part, recipe)).backward()


def _loss(model: Model, texts: Sequence[tuple[list[int], int]], recipe: Recipe) -> torch.Tensor:
    """The mean loss of texts as (ids, where the answer starts)."""
    inputs, _ = padded([ids for ids, _ in texts], model.pad_id)
    labels, _ = padded([[-100] * start + ids[start:] for ids, start in texts], -100)
    device = model.hf.device
    # A real vocabulary's logits take more memory than all else, and prompts have no loss.
    first = min(start for _, start in texts) - 1 if recipe.frozen else 0
    needed = {"logits_to_keep": labels.shape[1] - first} if first else {}
    return model.hf(input_ids=inputs.to(device), labels=labels[:, first:].to(device), **needed).loss
