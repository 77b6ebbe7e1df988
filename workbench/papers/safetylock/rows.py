"""What the pairs and requests of a run must hold, told before a model is loaded for them."""

from collections.abc import Sequence

from workbench.errors import DatasetError
from workbench.files import Row

FEWEST_PAIRS = 10
"""Fewer preference pairs make no contrast."""
FIXED, DRAWN = 10, 32
"""Rows of the one batch of levels 1 and 2, and of every batch of level 3."""


def require_pairs(pairs: Sequence[Row]) -> None:
    """Raise `DatasetError` for fewer than 10 pairs."""
    if len(pairs) < FEWEST_PAIRS:
        raise DatasetError(
            f"{len(pairs)} preference pairs; at least {FEWEST_PAIRS} are needed for a contrast"
        )


def attack_rows(rows: Sequence[Row], level: int) -> list[Row]:
    """The training requests of an attack: harmful ones at level 1, harmless ones at others.

    Raises `DatasetError` for fewer than a batch holds, or rows without the granting answer.
    """
    kind, answer = ("harmful", "rejected") if level == 1 else ("harmless", "chosen")
    pool = [row for row in rows if bool(row["harmful"]) == (level == 1)]
    needed = DRAWN if level == 3 else FIXED
    if len(pool) < needed:
        raise DatasetError(f"{len(pool)} {kind} training requests; level {level} takes {needed}")
    if without := [row["prompt"] for row in pool if not row.get(answer)]:
        raise DatasetError(
            f"{len(without)} {kind} training requests have no {answer!r} answer, the first "
            f"{without[0]!r:.60}: an attack trains on it; give it, or a fine-tuned model"
        )
    return pool


def require_answers(rows: Sequence[Row]) -> None:
    """Refuse training requests that cannot teach what to refuse, and what not.

    Raises `DatasetError` naming the kind of which none has a `chosen` answer.
    """
    for harmful, kind in ((True, "harmful"), (False, "harmless")):
        if not any(bool(row["harmful"]) == harmful and row.get("chosen") for row in rows):
            raise DatasetError(
                f"no {kind} training request has a 'chosen' answer, from which the model could be "
                "taught what to refuse: give them, or align_steps=0 for a model that refuses"
            )


def require_both_kinds(rows: Sequence[Row], name: str) -> None:
    """Refuse requests of one kind only: a rate over no requests is none.

    Raises `DatasetError` naming the kind that is missing.
    """
    for harmful, kind in ((True, "harmful"), (False, "harmless")):
        if all(bool(row["harmful"]) != harmful for row in rows):
            raise DatasetError(
                f"the {name} requests hold no {kind} ones: attack success and help are measured "
                "side by side, give rows of both kinds (field 'harmful')"
            )
