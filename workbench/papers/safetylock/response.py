"""Steps 5–6: a lock folded into an attacked model: dose and response, and its control locks."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from workbench.papers.safetylock.attack import Attack
from workbench.papers.safetylock.evaluate import Benchmark, Outcome, judged, replies
from workbench.papers.safetylock.lock import CONTROLS, Contrast
from workbench.steering.directions import HeadDirections
from workbench.steering.steer import steer

Measure = Callable[[HeadDirections | None, float], Outcome]
"""(lock, alpha) → the outcome of one attacked model on one benchmark; without a lock, its own."""


def evaluate_locked(
    attack: Attack,
    benchmark: Benchmark,
    lock: HeadDirections | None,
    alpha: float,
    **steering: Any,
) -> Outcome:
    """`evaluate` with the lock applied at `alpha`, under the attack's own system prompt.

    `steering`: options of `steer`; by default the lock is folded in, and taken out afterwards.
    """
    return judged(benchmark, locked_replies(attack, benchmark, lock, alpha, **steering))


def locked_replies(
    attack: Attack,
    benchmark: Benchmark,
    lock: HeadDirections | None,
    alpha: float,
    **steering: Any,
) -> list[str]:
    """`replies` with the lock applied, arguments as of `evaluate_locked`."""
    with steer(attack.model, lock, alpha, **steering) if lock is not None else nullcontext():
        return replies(attack.model, benchmark, system=attack.system)


def dose_response(
    measure: Measure, lock: HeadDirections, alphas: Sequence[float]
) -> dict[float, Outcome]:
    """Alpha → outcome, rising."""
    return {float(alpha): measure(lock, alpha) for alpha in sorted(set(alphas))}


def controls(
    measure: Measure,
    contrast: Contrast,
    lock: HeadDirections,
    alpha: float,
    *,
    draws: int,
    seed: int = 0,
) -> dict[str, list[Outcome]]:
    """Kind → outcomes of `draws` control locks, at the lock's own alpha."""
    return {
        kind: [measure(make(contrast, lock, 1000 * seed + i), alpha) for i in range(draws)]
        for kind, make in CONTROLS.items()
    }
