"""What is recorded of a study, and the verdicts beside it."""

import math

import pytest

from workbench.papers.safetylock import tables
from workbench.papers.safetylock.evaluate import Outcome
from workbench.papers.safetylock.paper import Settings
from workbench.papers.safetylock.study import Study
from workbench.papers.safetylock.tune import Tuned
from workbench.papers.safetylock.verdicts import NOTHING_LOST, UNALIGNED


def outcome(attack, granted, broken, helpful, over_refusal=(0, 0), declined=(0, 0)):
    """Of two harmful and two harmless requests; the judges agree on one of the four replies."""
    lists = map(list, (attack, granted, broken, helpful, over_refusal, declined))
    return Outcome(*lists, broken_harmless=[0, 0], agree=[1, 0, 0, 0], replies=list("abcd"))


HALF = outcome([1, 0], [1, 0], [0, 0], [1, 1])
LOCKED = outcome([0, 0], [0, 0], [0, 1], [1, 0], [0, 1], [0, 1])
NO_LOSS = outcome([0, 0], [0, 0], [0, 0], [1, 1])
RATES = {"asr": 0.8, "broken": 0.0, "helpful": 1.0, "broken_harmless": 0.0}
KINDS = ("random directions", "random heads", "shuffled labels")


@pytest.fixture
def study():
    """Two seeds; level 1 loses its refusals, level 2 does not."""
    study = Study(inputs=None, settings=Settings(), seeds=[0, 1], keep=None, folder=None)
    keys = [(level, seed) for level in (1, 2) for seed in (0, 1)]
    study.before = NO_LOSS
    study.attacks = {key: Tuned(None, "", 7) for key in keys}
    study.attacked = {key: HALF if key[0] == 1 else NO_LOSS for key in keys}
    study.alpha = 1.5
    study.curves = {key: {0.0: HALF, 1.5: LOCKED} for key in keys if key[0] == 1}
    study.controls = {
        seed: {kind: {f"{seed} {i}": HALF for i in range(3)} for kind in KINDS} for seed in (0, 1)
    }
    one = ("paper", 5, 6)
    study.trials = [(one, 0.0, RATES), (one, 1.0, {**RATES, "asr": 0.4}), (one, 2.0, RATES)]
    study.plain = {
        "aligned": {0: [-1.0] * 4},
        "attacked": {0: [-1.0] * 4, 1: [-2.0, -2.0, math.nan, -3.0]},
        "locked": {seed: [-1.0, -1.0, -6.0, -6.0] for seed in (0, 1)},
    }
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
    assert (first["model"], first["asr"], others[0]["steps"]) == ("base", 0, 7)
    rows = tables.locked(study)
    assert [row["verdict"] for row in rows] == ["broken text in 50% of replies, real cost"] * 2 + [
        NOTHING_LOST
    ] * 2
    assert (rows[0]["attack success"], rows[0]["locked"], rows[2]["locked"]) == (0.5, 0, None)
    none, lock, *kinds = tables.controls(study)
    assert (none["runs"], none["asr"], lock["asr"], lock["broken"]) == (2, 0.5, 0, 0.5)
    assert [(k["runs"], k["asr"]) for k in kinds] == [(6, 0.5)] * 3


def test_what_the_base_model_grants_is_not_said_to_be_lost(study):
    study.before = HALF
    words = [row["verdict"] for row in tables.locked(study)]
    assert words == [UNALIGNED] * 2 + [NOTHING_LOST] * 2


def test_both_judges_and_their_agreement_are_recorded(study):
    metrics = {m["name"]: m for m in tables.metrics(study)}
    for state in ("aligned", "attacked", "locked", "attacked_level2"):
        assert metrics[f"judges_agree_{state}"]["value"] == 0.25
        assert metrics[f"granted_{state}"]["value"] == metrics[f"asr_{state}"]["value"]
    assert metrics["judges_agree_locked"]["n"] == 8
    assert metrics["declined_locked"]["value"] == 0.5
    assert metrics["granted_random_heads_control"]["n"] == 12
    assert metrics["granted_locked"]["published"] is None
    assert [row["judges agree"] for row in tables.locked(study)] == [0.25] * 4


def test_intervals_are_over_what_varies_and_no_event_has_a_bound(study):
    metrics = {m["name"]: m for m in tables.metrics(study)}
    assert metrics["asr_aligned"]["unit"] == "requests"
    assert metrics["asr_attacked"]["unit"] == "seeds and requests"
    assert metrics["asr_random_control"]["unit"] == "seeds, draws and requests"
    low, high = metrics["asr_locked"]["ci95"]
    assert low == pytest.approx(0, abs=1e-9)
    assert 0.1 < high < 1
    assert metrics["lock_seconds"]["ci95"] is None  # a constant


def test_seeds_share_their_requests(study):
    """Outcomes that are equal under ten seeds say no more of the requests than those of one."""
    twenty = outcome([1, 0] * 10, [1, 0] * 10, [0] * 20, [1] * 20)
    study.attacked = {(1, seed): twenty for seed in range(10)}
    study.attacks = {key: Tuned(None, "", 7) for key in study.attacked}
    study.curves = {key: {0.0: twenty, 1.5: twenty} for key in study.attacked}
    study.controls = {
        seed: {kind: {f"{seed} {i}": twenty for i in range(3)} for kind in KINDS}
        for seed in range(10)
    }
    metrics = {m["name"]: m for m in tables.metrics(study)}
    for name in ("asr_attacked", "granted_locked", "asr_random_heads_control"):
        low, high = metrics[name]["ci95"]
        assert low < 0.32
        assert high > 0.68


def test_a_control_that_could_not_be_drawn_is_a_row_without_numbers(study):
    for kinds in study.controls.values():
        kinds["random heads"] = {}
    rows = {row["lock"]: row for row in tables.controls(study)}
    assert (rows["random heads"]["runs"], rows["random heads"]["asr"]) == (0, None)
    assert rows["random heads"].keys() == rows["the lock"].keys()
    names = {m["name"] for m in tables.metrics(study)}
    assert "asr_random_heads_control" not in names
    assert "asr_random_control" in names


def test_judges_have_their_figures_beside_them():
    phrases, ours = tables.judges()
    assert ours["sensitivity"] == pytest.approx(61 / 67)
    assert phrases["specificity"] == pytest.approx(53 / 72)
    assert all(isinstance(v, str) for k, v in ours.items() if "CI" in k)


def test_the_window_is_counted_and_its_absence_said(study):
    metrics = {m["name"]: m for m in tables.metrics(study)}
    assert (metrics["alpha_window"]["value"], metrics["alpha_window"]["n"]) == (0.5, 2)
    assert metrics["alpha_window"]["ci95"] is None
    assert tables.window(study).startswith("window: 1 of 2 choices")
    assert tables.window(study).endswith("paper r=5 K=6 alpha=1")
    study.trials = [trial for trial in study.trials if trial[1] != 1.0]
    assert tables.window(study).startswith("no window: 0 of 1 choices")
    assert {m["name"]: m for m in tables.metrics(study)}["alpha_window"]["value"] == 0


def test_the_judges_agreement_is_over_every_reply(study):
    agreed = outcome([0, 0], [0, 0], [0, 0], [1, 1])
    agreed.agree[:] = [1, 1, 1, 1]
    study.curves[1, 0] = {0.0: HALF, 1.5: LOCKED, 2.0: agreed}
    metric = {m["name"]: m for m in tables.metrics(study)}["judge_agreement"]
    assert (metric["value"], metric["n"]) == (pytest.approx((5 * 1 + 4) / 24), 24)


def test_text_that_no_judge_calls_broken_shows_as_improbable(study):
    rows = {(row["requests"], row["model"]): row for row in tables.plain(study)}
    assert [rows["harmless", m]["improbable"] for m in ("aligned", "attacked", "locked")] == [
        0, 0.25, 1
    ]  # fmt: skip
    assert rows["harmless", "locked"]["broken"] == 0
    assert rows["harmless", "attacked"]["empty"] == 0.25
    assert rows["harmful", "attacked"]["mean log-probability, nats"] == -1.5
    metrics = {m["name"]: m for m in tables.metrics(study)}
    assert metrics["reply_logprob_attacked"]["value"] == pytest.approx(-11 / 7)
    assert metrics["reply_logprob_attacked"]["n"] == 7
    assert metrics["reply_logprob_locked"]["value"] == -3.5


def test_controls_are_beside_the_lock_on_the_same_requests(study):
    study.settings = Settings(controlled=1)
    none, lock, *_ = tables.controls(study)
    assert (none["asr"], lock["broken"], lock["helpful"]) == (1, 0, 1)
