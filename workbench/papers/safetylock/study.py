"""The study around the lock: the validation map, dose and response, controls, cost, metrics."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from workbench.data.preferences import Row
from workbench.evaluation.metrics import bootstrap_ci, metric
from workbench.models.model import Model
from workbench.models.prompts import encode, messages
from workbench.papers.safetylock.attack import Attack
from workbench.papers.safetylock.evaluate import Judge, Outcome, evaluate_locked, usable
from workbench.papers.safetylock.lock import CONTROLS, Contrast, find_lock
from workbench.papers.safetylock.paper import PUBLISHED, Settings
from workbench.papers.safetylock.presets import Attacks
from workbench.steering.directions import HeadDirections
from workbench.steering.fold import fold
from workbench.steering.steer import steer

Rates = dict[str, float]
Plain = dict[str, Any]
Candidate = tuple[str, int, int]
"""(selection, r, K) of one lock."""


def take(rows: Sequence[Row], count: int) -> list[Row]:
    """The first `count` harmful and the first `count` harmless rows."""
    return [r for h in (True, False) for r in [x for x in rows if x["harmful"] == h][:count]]


def level_one(attacks: Attacks) -> dict[int, Attack]:
    """seed → the explicit-harm attack."""
    return {seed: attack for (level, seed), attack in attacks.items() if level == 1}


def plain(outcome: Outcome) -> Plain:
    """An outcome as JSON, two example replies (harmful, harmless) instead of all."""
    return {**asdict(outcome), "replies": [outcome.replies[0], outcome.replies[-1]]}


def rates(outcome: Plain) -> Rates:
    """`Outcome.means()` of a plain outcome."""
    return Outcome(**outcome).means()


def mean_rates(outcomes: Sequence[Plain]) -> Rates:
    """Each rate averaged over outcomes."""
    all_rates = [rates(o) for o in outcomes]
    return {name: sum(r[name] for r in all_rates) / len(all_rates) for name in all_rates[0]}


def curve(
    attack: Attack,
    lock: HeadDirections,
    alphas: Sequence[float],
    rows: Sequence[Row],
    judge: Judge,
    max_new_tokens: int,
) -> dict[str, Plain]:
    """Outcome at every alpha, keyed by its text (JSON); alpha 0 is the attacked model itself."""
    return {
        str(float(alpha)): locked_outcome(attack, lock, alpha, rows, judge, max_new_tokens)
        for alpha in sorted({0.0, *alphas})
    }


def locked_outcome(
    attack: Attack,
    lock: HeadDirections,
    alpha: float,
    rows: Sequence[Row],
    judge: Judge,
    max_new_tokens: int,
) -> Plain:
    """Plain outcome of an attacked model with a lock folded in, under the attack's own system."""
    return plain(
        evaluate_locked(
            attack.model,
            lock,
            alpha,
            rows,
            judge,
            system=attack.system,
            max_new_tokens=max_new_tokens,
        )
    )


def candidates(
    contrasts: Mapping[int, Contrast],
    settings: Settings,
    seed: int,
    scores: Mapping[int, torch.Tensor],
) -> dict[Candidate, HeadDirections]:
    """A lock for every (selection, r, K) of the settings. `scores`: r → `leverage`."""
    return {
        (selection, r, k): find_lock(contrast, k, selection, seed, scores.get(r))[0]
        for selection in settings.selections
        for r, contrast in contrasts.items()
        for k in settings.heads_grid
    }


def validation_map(
    attacks: Attacks,
    locks: Mapping[Candidate, HeadDirections],
    settings: Settings,
    rows: Sequence[Row],
    judge: Judge,
) -> list[tuple[Candidate, float, Rates]]:
    """(candidate, alpha, rates on validation requests), mean over the level-1 attacks.

    Alpha 0 is among them as the unlocked reference.
    """
    out = []
    for candidate, lock in locks.items():
        curves = [
            curve(a, lock, settings.alphas, rows, judge, settings.max_new_tokens)
            for a in level_one(attacks).values()
        ]
        for alpha in curves[0]:
            out.append((candidate, float(alpha), mean_rates([c[alpha] for c in curves])))
    return out


def choose(cells: Sequence[tuple[Candidate, float, Rates]]) -> tuple[Candidate, float]:
    """The usable cell of lowest attack success; ties go to the smaller shift √K · alpha.

    Where no locked cell is usable, the smallest alpha on the map: the trade-off is then shown, not
    hidden behind an alpha of 0.
    """
    reference = {tuple(c): rates for c, alpha, rates in cells if alpha == 0}
    locked = [(tuple(c), alpha, rates) for c, alpha, rates in cells if alpha > 0]
    fine = [cell for cell in locked if usable(cell[2], reference[cell[0]])]
    if not fine:
        candidate, alpha, _ = min(locked, key=lambda c: (c[1], c[0]))
        return candidate, alpha
    candidate, alpha, _ = min(fine, key=lambda c: (c[2]["asr"], c[0][2] ** 0.5 * c[1], c[0]))
    return candidate, alpha


def controls(
    attack: Attack,
    contrast: Contrast,
    lock: HeadDirections,
    alpha: float,
    rows: Sequence[Row],
    judge: Judge,
    *,
    draws: int,
    seed: int,
    max_new_tokens: int,
) -> dict[str, list[Plain]]:
    """Outcomes of `draws` control locks of each kind, at the lock's own alpha."""
    return {
        kind: [
            locked_outcome(
                attack, make(contrast, lock, 1000 * seed + i), alpha, rows, judge, max_new_tokens
            )
            for i in range(draws)
        ]
        for kind, make in CONTROLS.items()
    }


def lock_seconds(
    model: Model, lock: HeadDirections, alpha: float, repeats: int = 20
) -> list[float]:
    """Wall seconds to fold the lock, undone after each."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        handle = fold(model, lock, alpha)
        if model.hf.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        handle.undo()
    return times


def decode_ratios(
    model: Model, lock: HeadDirections, alpha: float, tokens: int = 64, pairs: int = 15
) -> list[float]:
    """Time to decode `tokens` tokens folded over unsteered, in pairs whose order alternates.

    CPU seconds of one thread on a CPU, where other work would disturb the wall clock; wall seconds
    on a GPU (decoding ends by reading tokens back, so nothing is left running).
    """
    clock = time.process_time if model.hf.device.type == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    ids = torch.tensor([encode(model, messages("How are you?")).ids], device=model.hf.device)

    def seconds() -> float:
        start = clock()
        model.hf.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=model.tokenizer.pad_token_id,
        )
        return clock() - start

    def folded_seconds() -> float:
        with steer(model, lock, alpha):
            return seconds()

    out = []
    torch.set_num_threads(1)
    try:
        seconds()
        for i in range(pairs):
            if i % 2:
                unsteered, folded = seconds(), folded_seconds()
            else:
                folded, unsteered = folded_seconds(), seconds()
            out.append(folded / unsteered)
    finally:
        torch.set_num_threads(threads)
    return out


def results(
    before: Outcome,
    attacked: Mapping[tuple[int, int], Outcome],
    locked: Mapping[tuple[int, int], Plain],
    control: Mapping[int, Mapping[str, Sequence[Plain]]],
    cosines: Sequence[float],
    times: Sequence[float],
    ratios: Sequence[float],
) -> list[dict[str, Any]]:
    """The run's metrics, level 1 under plain names, levels 2 and 3 with a suffix.

    Intervals resample seeds, then requests within each; those of medians (times, ratios) resample
    the repeats. Published values stand beside ours with the setting they were measured in.
    """
    published = {
        p["metric"]: (p["value"] / 100, f"{p['model']}, {p['dataset']}")
        for p in PUBLISHED
        if p["model"].startswith("Llama-3-8B") and p["dataset"] == "AdvBench"
    }
    out = []

    def add(name: str, values: Sequence[Sequence[float]]) -> None:
        flat = [v for group in values for v in group]
        mean = sum(flat) / len(flat)
        out.append(
            metric(name, mean, len(flat), bootstrap_ci(values), *published.get(name, (None, None)))
        )

    def add_median(name: str, values: Sequence[float], setting: tuple | None = None) -> None:
        middle = float(torch.tensor(values).quantile(0.5))
        interval = bootstrap_ci([values], statistic=_median)
        out.append(metric(name, middle, len(values), interval, *(setting or (None, None))))

    add("asr_aligned", [before.attack])
    add("helpful_aligned", [before.helpful])
    add("broken_aligned", [before.broken])
    for level in sorted({level for level, _ in attacked}):
        end = "" if level == 1 else f"_level{level}"
        own = [o for (found, _), o in attacked.items() if found == level]
        add(f"asr_attacked{end}", [o.attack for o in own])
        add(f"helpful_attacked{end}", [o.helpful for o in own])
        add(f"broken_attacked{end}", [o.broken for o in own])
        kept = [o for (found, _), o in locked.items() if found == level]
        if kept:
            add(f"asr_locked{end}", [o["attack"] for o in kept])
            add(f"helpful_locked{end}", [o["helpful"] for o in kept])
            add(f"over_refusal_locked{end}", [o["over_refusal"] for o in kept])
            add(f"broken_locked{end}", [o["broken"] for o in kept])
            add(f"broken_harmless_locked{end}", [o["broken_harmless"] for o in kept])
    for kind, name in (
        ("random directions", "random_control"),
        ("random heads", "random_heads_control"),
        ("shuffled labels", "shuffled_control"),
    ):
        per_seed = [c[kind] for c in control.values()]
        for field, start in (("attack", "asr"), ("broken", "broken")):
            add(f"{start}_{name}", [[v for o in seed for v in o[field]] for seed in per_seed])
    add("direction_cosine", [cosines])
    add_median("decode_ratio_folded", ratios, (1.0, "claim: no inference cost"))
    add_median("lock_seconds", times, (0.01, "claim: < 0.01 s (GPU)"))
    return out


def _median(values: Any) -> float:
    return float(torch.as_tensor(values).quantile(0.5))
