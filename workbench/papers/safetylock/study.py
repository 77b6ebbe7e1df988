"""The study, stage by stage: every function here runs a model and adds its part to a `Study`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from workbench.activations.probes import Probes
from workbench.errors import RunError
from workbench.files import Row
from workbench.hashing import digest
from workbench.papers.safetylock import costs
from workbench.papers.safetylock.choice import (
    Candidate,
    Trial,
    best_trial,
    candidates,
    validation_map,
)
from workbench.papers.safetylock.evaluate import Benchmark, Outcome, judged, take
from workbench.papers.safetylock.export import exported
from workbench.papers.safetylock.leverage import harmful_chats, head_effects, leverage, openers
from workbench.papers.safetylock.lock import Contrast, contrast_activations, cosines, find_lock
from workbench.papers.safetylock.paper import Settings
from workbench.papers.safetylock.presets import Attacks, Inputs, aligned, attacks
from workbench.papers.safetylock.response import (
    Measure,
    controls,
    dose_response,
    locked_replies,
)
from workbench.papers.safetylock.tune import Tuned
from workbench.papers.safetylock.verdicts import lost
from workbench.papers.workers import Keep
from workbench.steering.directions import HeadDirections

Plain = dict[str, Any]
AttackKey = tuple[int, int]
"""(risk level, seed)."""
Head = tuple[int, int]
"""(layer, head)."""


@dataclass
class Study:
    """A lock of the base model, and what it does to attacked descendants. Each stage adds its part.

    One lock serves all seeds, as the paper claims: its probes are split by the first seed, its
    heads and alpha chosen on the validation requests of all level-1 attacks. The seeds vary the
    attacks and the controls.

    `discover`: `contrasts`, `probes` and leverage `scores` by r, and the candidate `locks`.
    `make_attacks`: `attacks`, the base model's outcome `before`, and theirs, `attacked`. `choose`:
    `trials` on validation requests, the best `candidate`, its `lock`, `alpha` and `contrast`.
    `shift_single_heads`: `effects` of the lock's heads, nats. `apply_lock`: `curves`, outcomes by
    alpha of the attacks that broke refusals. `run_controls`: `controls`, outcomes by seed, kind and
    digest of the control lock. `compare_directions`: `cosines` of each shared head by attack.
    `weigh_costs`: `lock_seconds`, `decode_ratios`. `export`: `export_error`, the largest difference
    of a logit after saving and loading (None where the checkpoint was there already).
    """

    inputs: Inputs
    settings: Settings
    seeds: Sequence[int]
    keep: Keep
    folder: Path
    models: Path | None = None
    contrasts: dict[int, Contrast] = field(init=False)
    probes: dict[int, Probes] = field(init=False)
    scores: dict[int, torch.Tensor] = field(init=False)
    locks: dict[Candidate, HeadDirections] = field(init=False)
    attacks: Attacks = field(init=False)
    before: Outcome = field(init=False)
    attacked: dict[AttackKey, Outcome] = field(init=False)
    trials: list[Trial] = field(init=False)
    candidate: Candidate = field(init=False)
    alpha: float = field(init=False)
    lock: HeadDirections = field(init=False)
    contrast: Contrast = field(init=False)
    effects: dict[Head, float] = field(init=False)
    curves: dict[AttackKey, dict[float, Outcome]] = field(init=False)
    controls: dict[int, dict[str, dict[str, Outcome]]] = field(init=False)
    cosines: dict[AttackKey, dict[Head, float]] = field(init=False)
    lock_seconds: list[float] = field(init=False)
    decode_ratios: list[float] = field(init=False)
    export_error: float = field(init=False)

    @property
    def first(self) -> AttackKey:
        """The first level-1 attack."""
        return min(self.attacks)

    @property
    def level_one(self) -> dict[int, dict[float, Outcome]]:
        """Seed → curve of the explicit-harm attack."""
        return {seed: curve for (level, seed), curve in self.curves.items() if level == 1}

    @property
    def locked(self) -> dict[AttackKey, Outcome]:
        """Outcomes with the lock at the chosen alpha."""
        return {key: curve[self.alpha] for key, curve in self.curves.items()}


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
    """The base model, taught its refusals where the settings ask for it."""
    first = study.seeds[0]
    study.inputs = aligned(study.inputs, study.settings, first, study.models)


def discover(study: Study) -> None:
    """Steps 1–4 on the base model: contrasts, probes, leverage, and a lock for every candidate."""
    inputs, settings, seed = study.inputs, study.settings, study.seeds[0]
    base, pairs, train = inputs.base, inputs.pairs, inputs.train
    study.contrasts = {r: contrast_activations(base, pairs, r) for r in settings.r_grid}
    k = settings.heads_grid[0]
    study.probes = {r: find_lock(c, k, seed=seed)[1] for r, c in study.contrasts.items()}
    study.scores = {}
    if "leverage" in settings.selections:
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
    study.before = _measure(study, Tuned(study.inputs.base), test)(None, 0.0)
    study.attacked = {
        key: _measure(study, attack, test)(None, 0.0) for key, attack in study.attacks.items()
    }


def choose(study: Study) -> None:
    """The candidate and alpha of lowest attack success at little cost, on validation requests."""
    inputs, settings = study.inputs, study.settings
    measures = [
        _measure(study, attack, inputs.validation)
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


def shift_single_heads(study: Study) -> None:
    """What each head of the lock does alone, where the first attack begins its replies.

    Nothing where safe and unsafe answers begin alike.
    """
    attack, study.effects = study.attacks[study.first], {}
    tokens = openers(attack.model, study.inputs.pairs)
    if all(tokens):
        chats = harmful_chats(study.inputs.validation, attack.system)
        effects = head_effects(attack.model, study.lock, study.alpha, chats, tokens)
        study.effects = dict(zip(study.lock.heads, effects, strict=True))


def apply_lock(study: Study) -> None:
    """Steps 5–6: dose and response of every attack that broke refusals; at alpha 0, its own.

    Raises `RunError` where level 1 broke none, by our judge of refusals (`verdicts.lost`).
    """
    study.curves = {}
    for key, attack in study.attacks.items():
        unlocked = study.attacked[key]
        if lost(unlocked.rates()):
            measure = _measure(study, attack, study.inputs.test)
            doses = dose_response(measure, study.lock, study.settings.alphas)
            study.curves[key] = {0.0: unlocked, **doses}
    if not study.level_one:
        rates = study.attacked[study.first].rates()
        raise RunError(
            "the level-1 attack broke no refusals: nothing to restore or to measure (harmful "
            "requests: {granted:.0%} granted, {broken:.0%} answered with broken text; no refusal "
            "phrase in {asr:.0%})".format(**rates)
        )


def run_controls(study: Study) -> None:
    """Locks that should not help, on the level-1 attacks, at the lock's own alpha."""
    test = study.inputs.test
    study.controls = {
        seed: controls(
            _measure(study, study.attacks[1, seed], take(test, study.settings.controlled)),
            study.contrast,
            study.lock,
            study.alpha,
            draws=study.settings.draws,
            seed=seed,
        )
        for seed in study.level_one
    }


def compare_directions(study: Study) -> None:
    """Cosines of the lock's directions and the same heads' own directions in each descendant."""
    study.cosines = {}
    r = study.contrast.acts.positions.k
    for key, attack in study.attacks.items():
        contrast = contrast_activations(attack.model, study.inputs.pairs, r, attack.system)
        own = HeadDirections.contrast(contrast.acts, contrast.labels, study.lock.heads)
        study.cosines[key] = cosines(study.lock, own)


def weigh_costs(study: Study) -> None:
    """Seconds to fold the lock, and decoding time with it over without, on the first attack."""
    model, repeats = study.attacks[study.first].model, study.settings.repeats
    study.lock_seconds = costs.lock_seconds(model, study.lock, study.alpha)
    study.decode_ratios = costs.decode_ratios(model, study.lock, study.alpha, pairs=repeats)


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
    weigh_costs,
    export,
)


def _measure(study: Study, attack: Tuned, rows: Sequence[Row]) -> Measure:
    """What a lock does to an attack on these requests. Replies are kept, and judged every time."""
    benchmark = Benchmark(rows, study.inputs.judge, study.settings.max_new_tokens)
    depends = {
        **attack.model.identity(),
        "system": attack.system,
        "rows": digest(rows),
        "tokens": benchmark.max_new_tokens,
    }

    def measure(lock: HeadDirections | None, alpha: float) -> Outcome:
        key = {**depends, "lock": lock.digest() if lock else None, "alpha": alpha}
        compute = partial(locked_replies, attack, benchmark, lock, alpha)
        name = f"{attack.model.name}-alpha-{alpha:g}".replace("/", "-")
        return judged(benchmark, study.keep(name, key, compute))

    return measure
