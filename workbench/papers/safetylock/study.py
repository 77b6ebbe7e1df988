"""The study around the lock: the validation map, dose and response, controls, cost, metrics."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from workbench.data import Row
from workbench.directions import HeadDirections
from workbench.metrics import bootstrap_ci, metric
from workbench.models import Model
from workbench.papers.safetylock import PUBLISHED, Settings
from workbench.papers.safetylock.attack import Attack
from workbench.papers.safetylock.evaluate import Judge, Outcome, evaluate_locked, usable
from workbench.papers.safetylock.lock import (
    Contrast,
    find_lock,
    messages,
    random_directions,
    random_heads,
    shuffled_labels,
)
from workbench.papers.safetylock.scales import Attacks
from workbench.prompts import encode
from workbench.steering import fold, steer

Rates = dict[str, float]
Plain = dict[str, Any]
Cell = tuple[int, int, float]


@dataclass(frozen=True)
class Choice:
    """What validation chose: tokens read, heads kept, strength."""

    r: int
    heads: int
    alpha: float


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
        str(float(alpha)): plain(
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
        for alpha in sorted({0.0, *alphas})
    }


def validation_map(
    attacks: Attacks,
    contrasts: Mapping[int, Contrast],
    settings: Settings,
    rows: Sequence[Row],
    judge: Judge,
    seed: int,
    given: HeadDirections | None = None,
) -> dict[Cell, Rates]:
    """(r, K, alpha) → rates on validation requests, mean over the level-1 attacks.

    Alpha 0 is in it as the unlocked reference. A given lock makes one row of its own K.
    """
    locks = {
        (r, k): find_lock(contrast, k, settings.selection, seed)[0]
        for r, contrast in contrasts.items()
        for k in settings.heads_grid
    }
    if given is not None:
        locks = {(next(iter(contrasts)), len(given)): given}
    out = {}
    for (r, k), lock in locks.items():
        curves = [
            curve(a, lock, settings.alphas, rows, judge, settings.max_new_tokens)
            for a in level_one(attacks).values()
        ]
        for alpha in curves[0]:
            out[r, k, float(alpha)] = mean_rates([c[alpha] for c in curves])
    return out


def choose(cells: Mapping[Cell, Rates]) -> Choice:
    """The usable cell of lowest attack success; ties go to the smaller shift √K · alpha.

    Where no locked cell is usable, alpha is the smallest on the map: the trade-off is then shown,
    not hidden behind an alpha of 0.
    """
    locked = [c for c in cells if c[2] > 0]
    fine = [c for c in locked if usable(cells[c], cells[c[0], c[1], 0.0])]
    if not fine:
        return Choice(*min(locked, key=lambda c: (c[2], c[1], c[0])))
    return Choice(*min(fine, key=lambda c: (cells[c]["asr"], c[1] ** 0.5 * c[2], c)))


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
    made = {
        "random directions": lambda i: random_directions(lock, i),
        "random heads": lambda i: random_heads(contrast, len(lock), i),
        "shuffled labels": lambda i: shuffled_labels(contrast, lock.cells, i),
    }
    return {
        name: [
            curve(attack, make(1000 * seed + i), [alpha], rows, judge, max_new_tokens)[str(alpha)]
            for i in range(draws)
        ]
        for name, make in made.items()
    }


def head_margins(
    attack: Attack, lock: HeadDirections, alpha: float, rows: Sequence[Row], pairs: Sequence[Row]
) -> dict[tuple[int, int], float]:
    """Causal leverage of each head alone: change of the first token's refuse-comply margin, nats.

    The margin is log P(first tokens of safe answers) − log P(first tokens of unsafe ones), tokens
    that begin both left out, mean over the harmful rows (trap 18: a head that probes well may move
    nothing). Empty where the two kinds of answer share all first tokens.
    """
    model = attack.model

    def first_tokens(side: str) -> set[int]:
        texts = [p[side] for p in pairs]
        return {ids[0] for ids in model.tokenizer(texts, add_special_tokens=False)["input_ids"]}

    safe, unsafe = first_tokens("chosen"), first_tokens("rejected")
    safe, unsafe = sorted(safe - unsafe), sorted(unsafe - safe)
    if not safe or not unsafe:
        return {}
    prompts = [
        encode(model, messages(r["prompt"], attack.system)).ids for r in rows if r["harmful"]
    ]

    @torch.inference_mode()
    def margin() -> float:
        total = 0.0
        for ids in prompts:
            inputs = torch.tensor([ids], device=model.hf.device)
            logits = model.hf(inputs, logits_to_keep=1).logits[0, -1].double()
            total += float(logits[safe].logsumexp(0) - logits[unsafe].logsumexp(0))
        return total / len(prompts)

    before = margin()
    out = {}
    for i, cell in enumerate(lock.cells):
        with steer(model, lock.pick([i]), alpha):
            out[cell] = margin() - before
    return out


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
    model: Model, lock: HeadDirections, alpha: float, tokens: int = 64, pairs: int = 9
) -> list[float]:
    """Seconds to decode `tokens` tokens folded over unsteered, in pairs whose order alternates."""
    ids = torch.tensor([encode(model, messages("How are you?")).ids], device=model.hf.device)

    def seconds() -> float:
        start = time.perf_counter()
        model.hf.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=model.tokenizer.pad_token_id,
        )
        return time.perf_counter() - start

    def folded_seconds() -> float:
        with steer(model, lock, alpha):
            return seconds()

    seconds()
    out = []
    for i in range(pairs):
        if i % 2:
            unsteered, folded = seconds(), folded_seconds()
        else:
            folded, unsteered = folded_seconds(), seconds()
        out.append(folded / unsteered)
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
