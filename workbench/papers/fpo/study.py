"""The study: every method from one checkpoint on the same pairs in the same order, seed by seed."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from workbench.arguments import truth
from workbench.errors import FeatureError
from workbench.hashing import digest
from workbench.models.forward_state import forward_digest, libraries
from workbench.models.tokenizer_state import prompt_state
from workbench.papers.fpo.costs import bench, costs, step_ratios
from workbench.papers.fpo.evaluate import Evaluation
from workbench.papers.fpo.paper import Settings
from workbench.papers.fpo.presets import Inputs
from workbench.papers.fpo.train import Rows, Trained, conditions, load_policy, train
from workbench.papers.workers import Keep
from workbench.sae.diff import FeatureDiff, diff_features
from workbench.sae.health import Health, check_health, health
from workbench.sae.lens import lens
from workbench.sae.loading import sae_digest
from workbench.sae.pooling import Constraint
from workbench.sae.table import feature_table
from workbench.training.pairs import rows_digest, tokenised
from workbench.training.quiet import quiet
from workbench.training.resume import fault

log = logging.getLogger(__name__)

Plain = dict[str, Any]


@dataclass(frozen=True)
class FeatureEnd:
    """One trained policy and the reference, feature by feature; `table` of `feature_table`."""

    trained: Trained
    diff: FeatureDiff
    table: pd.DataFrame


@dataclass(frozen=True)
class Study:
    """All that was trained and measured.

    `rows`: the held-out pairs, tokenised. `shifts`: FPO's condition → (movement of the stream at
    the hook, what features leave out of it), one per seed (`sae.health.stream_shift`). `ends`:
    the weakest and the strongest constraint, of the first seed. `lens`: of every feature, in the
    reference. `costs`, `step_ratios`: as `costs` gives them, of `bench`'s name, tokens and batch;
    empty where they are not measured.
    """

    inputs: Inputs
    settings: Settings
    rows: Rows
    health: Health
    trained: list[Trained]
    shifts: dict[str, list[tuple[float, float]]]
    ends: list[FeatureEnd]
    lens: pd.DataFrame
    bench: Plain
    costs: list[Plain]
    step_ratios: list[float]

    @property
    def weakest(self) -> FeatureEnd:
        """The policy trained with the weakest constraint."""
        return self.ends[0]

    @property
    def parameters(self) -> Plain:
        """What defines the study, for `results.json`."""
        seeds = sorted({each.seed for each in self.trained})
        return {
            "model": self.inputs.name, **asdict(self.settings), "hook": self.inputs.hook,
            "features": self.inputs.sae.cfg.d_sae, "pairs": len(self.inputs.train),
            "held_out": len(self.rows), "seeds": seeds,
        }  # fmt: skip


@quiet()
def run(
    preset: str,
    inputs: Inputs,
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    keep: Keep,
    *,
    force_sae: bool = False,
) -> Study:
    """Check the SAE, train everything, measure it; what `keep` has is not done again.

    Policies and feature diffs go below `out`. Raises `FeatureError` for an SAE that explains less
    than half of the variance, unless `force_sae`.

    >>> done = run("tiny", inputs("tiny", settings), settings, [0, 1, 2], out, partial(cached, out))
    >>> tables.metrics(done)
    """
    truth("force_sae", force_sae)
    rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
    base = {
        "weights": forward_digest(inputs.reference.eval()),
        **prompt_state(inputs.tokenizer),
        "sae": sae_digest(inputs.sae),
        "hook": inputs.hook,
        "libraries": libraries(),
        "device": inputs.reference.device.type,
        "settings": {k: v for k, v in asdict(settings).items() if k != "costs"},
        "data": [rows_digest(inputs.train), rows_digest(inputs.test)],
    }
    reference, sae, hook = inputs.reference.eval(), inputs.sae, inputs.hook
    batches = {"batch": settings.per_device, "pad_token_id": inputs.tokenizer.pad_token_id}
    fit = Health(
        **keep("health", base, lambda: asdict(health(reference, rows, sae, hook, **batches)))
    )
    check_health(fit, f"the SAE at {hook}", force_sae=force_sae)
    trained = train_all(inputs, settings, seeds, out, keep, rows, base)
    shifts: dict[str, list[tuple[float, float]]] = {}
    for each in sorted(_fpo(trained), key=lambda t: t.condition.alpha):
        size, outside = each.evaluation.shift.tolist()
        shifts.setdefault(each.condition.name, []).append((size, outside))
    ends = [feature_end(each, inputs, settings, rows, out) for each in extremes(trained, seeds[0])]
    on = bench(preset, inputs, settings)
    measured = {"bench": on.name, "tokens": on.tokens, "batch": on.batch}
    timed = measured | {n: base[n] for n in ("weights", "sae", "hook", "libraries", "device")}
    return Study(
        inputs=inputs, settings=settings, rows=rows, health=fit, trained=trained, shifts=shifts,
        ends=ends, lens=lens(reference, sae, hook, inputs.tokenizer), bench=measured,
        costs=keep("costs", timed, lambda: costs(on, out / "costs")) if settings.costs else [],
        step_ratios=keep("step-ratios", timed, lambda: step_ratios(on, out / "costs"))
        if settings.costs else [],
    )  # fmt: skip


def train_all(
    inputs: Inputs,
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    keep: Keep,
    rows: Rows,
    base: Plain,
) -> list[Trained]:
    """Every condition with every seed; `base`: all that they depend on in common.

    One whose policy is damaged is trained again, though its results are kept.
    """
    trained = []
    todo = [(condition, seed) for seed in seeds for condition in conditions(settings)]
    for condition, seed in tqdm(todo, desc="preference training", unit="run"):
        name = f"{condition.method}-{condition.alpha:g}-{seed}"
        folder = out / "policies" / name
        key = {**base, "method": condition.method, "alpha": condition.alpha, "seed": seed}
        identity = digest(key)
        again = partial(train, inputs, settings, rows, condition, seed, folder, identity)
        plain = keep(name, key, again)
        if wrong := fault(folder, identity):
            log.warning("%s: %s; it is trained again", folder, wrong)
            plain = again()
        curves = {n: [tuple(point) for point in points] for n, points in plain["curves"].items()}
        evaluation = Evaluation(**{n: np.array(values) for n, values in plain["held_out"].items()})
        trained.append(Trained(condition, seed, evaluation, curves, folder, plain["seconds"]))
    return trained


def extremes(trained: Sequence[Trained], seed: int) -> list[Trained]:
    """FPO with the weakest and the strongest constraint, of one seed; one where they are one."""
    rising = sorted((t for t in _fpo(trained) if t.seed == seed), key=lambda t: t.condition.alpha)
    return rising[:1] + rising[1:][-1:]


def feature_end(
    trained: Trained, inputs: Inputs, settings: Settings, rows: Rows, out: Path
) -> FeatureEnd:
    """Every feature of a trained policy and the reference, counted over `rows`; resumable.

    A diff that is there but damaged, or of another policy, is made again.
    """
    folder = out / "features" / trained.policy.name
    diff = partial(
        diff_features,
        load_policy(trained.policy, inputs.reference), inputs.reference.eval(), rows, inputs.sae,
        inputs.hook, folder,
        Constraint(settings.k, settings.topk, trained.condition.alpha, settings.beta),
        batch=settings.per_device, pad_token_id=inputs.tokenizer.pad_token_id,
    )  # fmt: skip
    try:
        features = diff()
    except FeatureError as error:
        log.warning("%s: %s; it is made again", folder, error)
        shutil.rmtree(folder)
        features = diff()
    return FeatureEnd(trained, features, feature_table(features, inputs.sae, seed=trained.seed))


def _fpo(trained: Sequence[Trained]) -> list[Trained]:
    return [t for t in trained if t.condition.method == "fpo"]
