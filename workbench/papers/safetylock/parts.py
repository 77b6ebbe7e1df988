"""What a study holds, and how it measures: the parts that its stages add."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from workbench.activations.probes import Probes
from workbench.files import Row
from workbench.hashing import digest
from workbench.papers.safetylock.choice import Candidate, Trial
from workbench.papers.safetylock.evaluate import Benchmark, Outcome, judged
from workbench.papers.safetylock.lock import Contrast
from workbench.papers.safetylock.paper import Settings
from workbench.papers.safetylock.presets import Attacks, Inputs
from workbench.papers.safetylock.response import Measure, locked_replies, side_by_side
from workbench.papers.safetylock.tune import Tuned
from workbench.papers.workers import Keep
from workbench.steering.directions import HeadDirections

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

    `align`: the taught model in `inputs`, and `taught`, outcomes on validation requests before and
    after (none where nothing is taught).
    `discover`: `contrasts`, `probes` and leverage `scores` by r, and the candidate `locks`.
    `make_attacks`: `attacks`, the base model's outcome `before`, and theirs, `attacked`. `choose`:
    `trials` on validation requests, the best `candidate`, its `lock`, `alpha` and `contrast`.
    `shift_single_heads`: `effects` of the lock's heads, nats. `apply_lock`: `curves`, outcomes by
    alpha of the attacks that broke refusals. `run_controls`: `controls`, outcomes by seed, kind and
    digest of the control lock. `compare_directions`: `cosines` of each shared head by attack.
    `read_replies`: `plain`, mean log-probability of test replies under the base model, by state and
    seed. `weigh_costs`: `lock_seconds`, `decode_ratios`. `export`: `export_error`, the largest
    difference of a logit after saving and loading.

    `models`: where trained models are kept; None keeps none.
    """

    inputs: Inputs
    settings: Settings
    seeds: Sequence[int]
    keep: Keep
    folder: Path
    models: Path | None = None
    taught: dict[str, Outcome] = field(init=False)
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
    plain: dict[str, dict[int, list[float]]] = field(init=False)
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


def measure_of(
    study: Study, attack: Tuned, rows: Sequence[Row], alphas: Sequence[float] = ()
) -> Measure:
    """What a lock does to an attack on these requests. Replies are kept, and judged every time.

    `alphas`: those that are all going to be asked of every lock. Where the settings' `batch` holds
    the replies to all of them, they are made in one, through hooks instead of folds.
    """
    settings = study.settings
    benchmark = Benchmark(rows, study.inputs.judge, settings.max_new_tokens, settings.batch)
    fits = len(rows) * len(alphas) <= (settings.batch or 0)
    together = list(alphas) if fits else []
    depends = {
        **attack.model.identity(),
        "system": attack.system,
        "rows": digest(rows),
        "tokens": benchmark.max_new_tokens,
    }

    def measure(lock: HeadDirections | None, alpha: float) -> Outcome:
        key = {**depends, "lock": lock.digest() if lock else None}
        name = attack.model.name.replace("/", "-")
        if lock is not None and alpha in together:
            compute = partial(side_by_side, attack, benchmark, lock, together)
            texts = study.keep(f"{name}-alphas", {**key, "alphas": together}, compute)
            return judged(benchmark, texts[together.index(alpha)])
        compute = partial(locked_replies, attack, benchmark, lock, alpha)
        texts = study.keep(f"{name}-alpha-{alpha:g}", {**key, "alpha": alpha}, compute)
        return judged(benchmark, texts)

    return measure
