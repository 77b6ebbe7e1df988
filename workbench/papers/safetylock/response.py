"""Steps 5–6: a lock folded into an attacked model: dose and response, and its control locks."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from workbench import arguments
from workbench.papers.safetylock.evaluate import Benchmark, Outcome, replies
from workbench.papers.safetylock.lock import CONTROLS, Contrast, outside
from workbench.papers.safetylock.tune import Tuned
from workbench.steering.directions import HeadDirections
from workbench.steering.steer import steer

log = logging.getLogger(__name__)

SEEDS_APART = 1000
"""From the first control's seed of one attack to that of the next."""
SEEDS = 2**32 - 5
"""A prime: torch's generators on a CPU tell no more than the last 32 bits of a seed apart."""
Measure = Callable[[HeadDirections | None, float], Outcome]
"""(lock, alpha) → the outcome of one attacked model on one benchmark; without a lock, its own."""


def locked_replies(
    attack: Tuned,
    benchmark: Benchmark,
    lock: HeadDirections | None,
    alpha: float,
    **steering: Any,
) -> list[str]:
    """`replies` with the lock applied at `alpha`, under the attack's own system prompt.

    `steering`: options of `steer`; by default the lock is folded in, and taken out afterwards.
    """
    with steer(attack.model, lock, alpha, **steering) if lock is not None else nullcontext():
        return replies(attack.model, benchmark, system=attack.system)


def side_by_side(
    attack: Tuned, benchmark: Benchmark, lock: HeadDirections, alphas: Sequence[float]
) -> list[list[str]]:
    """`locked_replies` at each alpha, all of them in one batch; the lock acts by hooks."""
    with steer(attack.model, lock, [alpha for alpha in alphas for _ in benchmark.rows]):
        answers = replies(attack.model, benchmark, system=attack.system, times=len(alphas))
    count = len(benchmark.rows)
    return [answers[i * count : (i + 1) * count] for i in range(len(alphas))]


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
) -> dict[str, dict[str, Outcome]]:
    """Kind → digest of a control lock → its outcome at the lock's own alpha: `draws` of each kind.

    Every draw has a seed of its own, and two `seed`s share none. A kind has fewer where the same
    lock is drawn twice, and none where too few heads lie outside the lock to draw random ones
    (both logged). Raises `ValueError` for draws outside 1 to 1000.
    """
    arguments.whole("draws", draws, 1, SEEDS_APART)
    outcomes: dict[str, dict[str, Outcome]] = {}
    for kind, make in CONTROLS.items():
        if kind == "random heads" and len(outside(contrast, lock)) < len(lock):
            log.warning("no random heads: fewer heads outside the lock than in it")
            outcomes[kind] = {}
            continue
        seeds = [(SEEDS_APART * seed + i) % SEEDS for i in range(draws)]
        drawn = [make(contrast, lock, draw) for draw in seeds]
        different = {control.digest(): control for control in drawn}
        if len(different) < draws:
            log.warning("%s: %d of %d draws are different", kind, len(different), draws)
        outcomes[kind] = {name: measure(control, alpha) for name, control in different.items()}
    return outcomes
