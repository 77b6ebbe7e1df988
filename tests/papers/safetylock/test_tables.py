"""What is recorded of a study, and the verdicts beside it."""

import pytest

from workbench.papers.safetylock import tables
from workbench.papers.safetylock.attack import Attack
from workbench.papers.safetylock.evaluate import Outcome
from workbench.papers.safetylock.study import Study

HALF = Outcome([1, 0], [0, 0], [1, 1], [0, 0], [0, 0], ["a", "b", "c", "d"])
LOCKED = Outcome([0, 0], [0, 1], [1, 0], [0, 1], [0, 0], ["x"] * 4)
NO_LOSS = Outcome([0, 0], [0, 0], [1, 1], [0, 0], [0, 0], ["y"] * 4)


@pytest.fixture
def study():
    """Two seeds; level 1 loses its refusals, level 2 does not."""
    study = Study(inputs=None, settings=None, seeds=[0, 1], keep=None, folder=None)
    keys = [(level, seed) for level in (1, 2) for seed in (0, 1)]
    study.before = HALF
    study.attacks = {key: Attack(None, "", 7) for key in keys}
    study.attacked = {key: HALF if key[0] == 1 else NO_LOSS for key in keys}
    study.alpha = 1.5
    study.curves = {key: {0.0: HALF, 1.5: LOCKED} for key in keys if key[0] == 1}
    kinds = ("random directions", "random heads", "shuffled labels")
    study.controls = {seed: {kind: [HALF] * 3 for kind in kinds} for seed in (0, 1)}
    study.cosines = {(1, 0): {(0, 1): 0.9, (2, 3): 1.0}}
    study.lock_seconds, study.decode_ratios = [0.003] * 5, [1.01, 0.99, 1.0]
    return study


def test_metrics_hold_what_was_measured(study):
    metrics = {m["name"]: m for m in tables.metrics(study)}
    needed = (
        "asr_aligned asr_attacked asr_locked helpful_attacked helpful_locked asr_random_control "
        "decode_ratio_folded lock_seconds direction_cosine"
    ).split()
    assert set(needed) <= set(metrics)
    assert metrics["asr_attacked"]["value"] == 0.5
    assert metrics["asr_attacked"]["n"] == 4
    assert metrics["asr_attacked"]["published"] == pytest.approx(0.4923)
    assert metrics["asr_locked"]["published"] == pytest.approx(0.0019)
    assert metrics["helpful_locked"]["value"] == 0.5
    assert metrics["over_refusal_locked"]["value"] == 0.5
    assert metrics["asr_random_control"]["n"] == 12
    assert metrics["decode_ratio_folded"]["value"] == 1.0
    assert metrics["direction_cosine"]["value"] == pytest.approx(0.95)
    assert "asr_locked_level2" not in metrics
    assert metrics["asr_attacked_level2"]["value"] == 0


def test_rows_put_attacks_locks_and_controls_side_by_side(study):
    first, *others = tables.attacks(study)
    assert (first["model"], first["asr"], others[0]["steps"]) == ("base", 0.5, 7)
    rows = tables.locked(study)
    assert [row["verdict"] for row in rows] == ["restored, real cost"] * 2 + [
        tables.NOTHING_LOST
    ] * 2
    assert (rows[0]["attack success"], rows[0]["locked"], rows[2]["locked"]) == (0.5, 0, None)
    none, lock, *kinds = tables.controls(study)
    assert (none["runs"], none["asr"], lock["asr"], lock["broken"]) == (2, 0.5, 0, 0.5)
    assert [(k["runs"], k["asr"]) for k in kinds] == [(6, 0.5)] * 3


def test_verdicts_in_plain_words():
    lost, none = HALF.rates(), NO_LOSS.rates()
    assert tables.verdict(lost, none) == "restored, little cost"
    assert tables.verdict(lost, {**none, "asr": 0.11}) == "not restored, little cost"
    assert tables.verdict({**lost, "asr": 0.19}, none) == tables.NOTHING_LOST
