"""The study, stage by stage: every function here runs a model and adds its part to a `Study`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from workbench.errors import RunError
from workbench.hashing import digest
from workbench.papers.safetylock import costs
from workbench.papers.safetylock.choice import (
    best_trial,
    candidates,
    validation_map,
)
from workbench.papers.safetylock.evaluate import first, take
from workbench.papers.safetylock.export import exported
from workbench.papers.safetylock.leverage import harmful_chats, head_effects, leverage, openers
from workbench.papers.safetylock.lock import contrast_activations, cosines, find_lock
from workbench.papers.safetylock.paper import Settings
from workbench.papers.safetylock.parts import Study, measure_of
from workbench.papers.safetylock.plain import plain_logprobs
from workbench.papers.safetylock.presets import Inputs, aligned, attacks
from workbench.papers.safetylock.response import (
    controls,
    dose_response,
)
from workbench.papers.safetylock.tune import Tuned
from workbench.papers.safetylock.verdicts import lost
from workbench.papers.workers import Keep
from workbench.steering.directions import HeadDirections
from workbench.training.memory import release


def run(
    inputs: Inputs,
    settings: Settings,
    seeds: Sequence[int],
    keep: Keep,
    folder: Path,
    models: Path | None = None,
) -> Study:
    """All stages in their order; what `keep` and the folder `models` have is not computed again.

    Writes `lock.safetensors` and the checkpoint `locked` into `folder`. Raises `RunError` where the
    level-1 attack broke no refusals, and as the methods of the stages.

    >>> study = run(inputs, settings, [0, 1, 2], partial(cached, folder / "cache"), folder)
    >>> tables.metrics(study)
    """
    study = Study(inputs, settings, seeds, keep, folder, models)
    for stage in STAGES:
        stage(study)
    return study


def align(study: Study) -> None:
    """The base model, taught its refusals where the settings ask for it, before and after."""
    loaded, study.taught = study.inputs, {}
    study.inputs = aligned(loaded, study.settings, study.seeds[0], study.models)
    if study.inputs is not loaded:
        for name, base in (("as loaded", loaded.base), ("taught", study.inputs.base)):
            measure = measure_of(study, Tuned(base), loaded.validation)
            study.taught[name] = measure(None, 0.0)


def discover(study: Study) -> None:
    """Steps 1–4 on the base model: contrasts, probes, leverage, and a lock for every candidate."""
    inputs, settings, seed = study.inputs, study.settings, study.seeds[0]
    base, pairs, train = inputs.base, inputs.pairs, inputs.train
    study.contrasts = {r: contrast_activations(base, pairs, r) for r in settings.r_grid}
    study.probes = {r: find_lock(c, 1, seed=seed)[1] for r, c in study.contrasts.items()}
    study.scores = {}
    if "leverage" in settings.selections and inputs.lock is None:
        depends = {**base.identity(), "pairs": digest(pairs), "train": digest(train)}
        for r, contrast in study.contrasts.items():
            compute = partial(leverage, base, contrast, train, pairs, gradient=settings.gradient)
            key = {**depends, "gradient": settings.gradient}
            scores = study.keep(f"leverage-{r}", key, lambda f=compute: f().tolist())
            study.scores[r] = torch.tensor(scores)
    if inputs.lock is not None:
        study.locks = {("given", 0, len(inputs.lock)): inputs.lock}
    else:
        study.locks = candidates(study.contrasts, settings, seed, study.scores)


def make_attacks(study: Study) -> None:
    """Fine-tuned descendants, and how they and the base model answer the test requests."""
    test = study.inputs.test
    study.attacks = attacks(study.inputs, study.settings, study.seeds, study.models)
    study.before = measure_of(study, Tuned(study.inputs.base), test)(None, 0.0)
    study.attacked = {
        key: measure_of(study, attack, test)(None, 0.0) for key, attack in study.attacks.items()
    }
    release()


def choose(study: Study) -> None:
    """The candidate and alpha of lowest attack success at little cost, on validation requests."""
    inputs, settings = study.inputs, study.settings
    measures = [
        measure_of(study, attack, inputs.validation, study.settings.alphas)
        for (level, _), attack in study.attacks.items()
        if level == 1
    ]
    study.trials = validation_map(measures, study.locks, settings.alphas)
    study.candidate, study.alpha = best_trial(study.trials)
    study.lock = study.locks[study.candidate]
    # A given lock comes without a contrast: its controls are drawn from the first of ours.
    first = study.contrasts[settings.r_grid[0]]
    study.contrast = study.contrasts.get(study.candidate[1], first)
    study.folder.mkdir(parents=True, exist_ok=True)
    study.lock.save(study.folder / "lock.safetensors")
    release()


def shift_single_heads(study: Study) -> None:
    """What each head of the lock does alone, where the first attack begins its replies.

    Nothing where safe and unsafe answers begin alike.
    """
    attack, study.effects = study.attacks[study.first], {}
    tokens = openers(attack.model, study.inputs.pairs)
    if all(tokens):
        chats = harmful_chats(study.inputs.validation, attack.system)
        depends = {**attack.model.identity(), "lock": study.lock.digest(), "alpha": study.alpha,
                   "chats": digest(chats), "tokens": tokens}  # fmt: skip
        args = (attack.model, study.lock, study.alpha, chats, tokens)
        effects = study.keep("effects", depends, partial(head_effects, *args))
        study.effects = dict(zip(study.lock.heads, effects, strict=True))


def apply_lock(study: Study) -> None:
    """Steps 5–6: dose and response of every attack that broke refusals; at alpha 0, its own.

    Raises `RunError` where level 1 broke none, by our judge of refusals (`verdicts.lost`).
    """
    study.curves = {}
    for key, attack in study.attacks.items():
        unlocked = study.attacked[key]
        if lost(unlocked.rates()):
            measure = measure_of(study, attack, study.inputs.test, study.settings.alphas)
            doses = dose_response(measure, study.lock, study.settings.alphas)
            study.curves[key] = {0.0: unlocked, **doses}
    if not study.level_one:
        rates = study.attacked[study.first].rates()
        raise RunError(
            "the level-1 attack broke no refusals: nothing to restore or to measure (harmful "
            "requests: {granted:.0%} granted, {broken:.0%} answered with broken text; no refusal "
            "phrase in {asr:.0%})".format(**rates)
        )
    release()


def run_controls(study: Study) -> None:
    """Locks that should not help, on the level-1 attacks, at the lock's own alpha."""
    test = study.inputs.test
    study.controls = {
        seed: controls(
            measure_of(study, study.attacks[1, seed], take(test, study.settings.controlled)),
            study.contrast,
            study.lock,
            study.alpha,
            draws=study.settings.draws,
            seed=seed,
        )
        for seed in study.level_one
    }
    release()


def read_replies(study: Study) -> None:
    """How probable the plain base model finds test replies: its own, attacked ones, locked ones.

    Of level 1, and of as many requests as the controls are asked.
    """
    inputs, count = study.inputs, study.settings.controlled
    rows, first_seed = take(inputs.test, count), study.seeds[0]
    outcomes = {"aligned": {first_seed: study.before}}
    for state, alpha in (("attacked", 0.0), ("locked", study.alpha)):
        outcomes[state] = {seed: curve[alpha] for seed, curve in study.level_one.items()}
    depends = {**inputs.base.identity(), "rows": digest(rows)}
    study.plain = {state: {} for state in outcomes}
    for state, of_seeds in outcomes.items():
        for seed, outcome in of_seeds.items():
            replies = first(outcome, count).replies
            compute = partial(plain_logprobs, inputs.base, rows, replies)
            key = {**depends, "replies": digest(replies)}
            study.plain[state][seed] = study.keep(f"plain-{state}", key, compute)


def compare_directions(study: Study) -> None:
    """Cosines of the lock's directions and the same heads' own directions in each descendant."""
    study.cosines = {}
    r = study.contrast.acts.positions.k
    pairs = study.inputs.pairs
    for key, attack in study.attacks.items():

        def compute(attack: Tuned = attack) -> list[float]:
            contrast = contrast_activations(attack.model, pairs, r, attack.system)
            own = HeadDirections.contrast(contrast.acts, contrast.labels, study.lock.heads)
            return list(cosines(study.lock, own).values())

        depends = {**attack.model.identity(), "system": attack.system, "pairs": digest(pairs),
                   "r": r, "lock": study.lock.digest()}  # fmt: skip
        values = study.keep("cosines", depends, compute)
        study.cosines[key] = dict(zip(study.lock.heads, values, strict=True))
    release()


def weigh_costs(study: Study) -> None:
    """Seconds to fold the lock, and decoding time with it over without, on the first attack."""
    model, repeats = study.attacks[study.first].model, study.settings.repeats
    study.lock_seconds = costs.lock_seconds(model, study.lock, study.alpha)
    study.decode_ratios = costs.decode_ratios(model, study.lock, study.alpha, pairs=repeats)
    release()


def export(study: Study) -> None:
    """The first attack with the lock folded in, as a checkpoint that plain transformers loads."""
    model, place = study.attacks[study.first].model, study.folder / "locked"
    study.export_error = exported(model, study.lock, study.alpha, place, study.keep)


STAGES = (
    align,
    discover,
    make_attacks,
    choose,
    shift_single_heads,
    apply_lock,
    run_controls,
    compare_directions,
    read_replies,
    weigh_costs,
    export,
)
