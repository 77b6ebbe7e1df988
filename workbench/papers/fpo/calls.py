"""What a run asks of its models, counted: each kind of call, and the seconds that one may take."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from workbench.papers.estimate import BACKWARD, Part, reading
from workbench.papers.fpo.costs import BATCHES, COMPARED, bench
from workbench.papers.fpo.evaluate import evaluate
from workbench.papers.fpo.paper import METHODS, Settings
from workbench.papers.fpo.presets import Inputs
from workbench.papers.fpo.train import conditions
from workbench.sae.pooling import Constraint
from workbench.training import memory
from workbench.training.pairs import tokenised

LOOKED_AT = 64
"""Pairs whose lengths tell those of all."""
ROUNDS = 8
BESIDE = 0.03
"""Seconds of a step that the trainer takes for itself, whatever the model."""
LEFT_OUT = (
    "an SAE that was trained while loading, the features' statistics, about half a minute of "
    "loading, tables and figures"
)


def parts(preset: str, inputs: Inputs, settings: Settings, seeds: Sequence[int]) -> list[Part]:
    """The calls of a whole run, at the speed of the reference's forward measured now.

    A backward counts as two forwards, as one where an adapter alone is trained, and a checkpointed
    one as one more.
    """
    rows = inputs.train.select(range(min(LOOKED_AT, len(inputs.train))))
    lengths, texts = [], []
    for row in tokenised(rows, inputs.tokenizer, settings.max_length, "train"):
        both = [row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")]
        texts += both
        lengths.append(2 * max(map(len, both)))
    constant, each = reading(inputs.reference, texts)
    pair = each * float(np.mean(lengths))

    def forward(pairs: int) -> float:
        """Seconds of a forward of so many pairs, in the parts that fit."""
        return constant * math.ceil(pairs / settings.per_device) + pair * pairs

    trained = conditions(settings)
    count = len(seeds) * len(trained)
    references = [
        settings.reference if c.method == "fpo" else METHODS[c.method][2] for c in trained
    ]
    online = references.count("online") / len(trained)
    steps = settings.steps or math.ceil(len(inputs.train) / settings.batch)
    backward = 1 if settings.lora else BACKWARD
    passes = 1 + backward + settings.checkpointing + online
    out = [
        Part(f"training steps of {settings.batch} pairs", count * steps,
             BESIDE + passes * forward(settings.batch)),
        Part("forwards of all training pairs for the reference", 1, forward(len(inputs.train))),
        Part("evaluations on all held-out pairs", count, evaluation(inputs, settings)),
        Part("forwards of all held-out pairs", 2 * 2 + 3, forward(len(inputs.test))),
    ]  # fmt: skip
    if settings.costs:
        on = bench(preset, inputs, settings)
        few = [[token % 100 + 3 for token in range(on.tokens)]] * 4
        constant, each = reading(on.model(), few)
        step = (2 + BACKWARD) * (constant + each * 2 * on.batch * on.tokens)
        timed = len(COMPARED) * (1 + 2 * BATCHES) + 2 * (1 + ROUNDS)
        out.append(Part("training steps to measure memory and time", timed, step))
    return out


def evaluation(inputs: Inputs, settings: Settings) -> float:
    """Seconds of `evaluate` on all held-out pairs, by those of some.

    Reading a real vocabulary's probabilities takes about as long as the forwards that give them.
    """
    some = inputs.test.select(range(min(settings.per_device, len(inputs.test))))
    rows = tokenised(some, inputs.tokenizer, settings.max_length)
    constraint = Constraint(settings.k, settings.topk)
    evaluated = partial(
        evaluate, inputs.reference, inputs.reference, rows, inputs.sae, inputs.hook, constraint,
        pad_token_id=inputs.tokenizer.pad_token_id,
    )  # fmt: skip
    shortest = min(memory.seconds(evaluated) for _ in range(3))
    return shortest * math.ceil(len(inputs.test) / len(some))
