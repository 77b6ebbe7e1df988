"""Where in a reply a direction shows: every token's projection on it."""

from collections.abc import Sequence

import torch

from workbench.activations.capture import capture
from workbench.models.model import Model
from workbench.models.prompts import Prompt, response
from workbench.steering.directions import HeadDirections
from workbench.steering.shifts import Direction


def token_scores(
    model: Model, direction: Direction, prompts: Sequence[Prompt]
) -> list[torch.Tensor]:
    """Float32 `[token]` for each prompt: the projection of its reply's tokens, in units of σ.

    x·θ/σ of the activation at each token, averaged over the direction's heads or layers; steered
    where the model is steered now. Prompts are chats that end in a reply.

    Raises as `capture` and, where the direction does not fit, `DirectionError`.
    """
    direction.check(model)
    heads = isinstance(direction, HeadDirections)
    layers = sorted(set(direction.layer.tolist()))
    acts = capture(model, prompts, "heads" if heads else "resid", response(), layers)
    captured = torch.tensor([layers.index(i) for i in direction.layer.tolist()])
    x = acts.values[:, :, captured]
    if heads:
        x = x[:, :, torch.arange(len(direction)), direction.head]
    along = torch.einsum("ptkd,kd->ptk", x, direction.unit) / direction.scale
    return [row[mask] for row, mask in zip(along.mean(2), acts.mask, strict=True)]
