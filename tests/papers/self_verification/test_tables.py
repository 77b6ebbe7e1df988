"""Tables of a study against counts made by hand; the published ones by the paper's arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.helpers.comparisons import (
    AGREED,
    OTHER,
    PROBLEM,
    RIGHT,
    WRONG,
    comparison,
    question,
    study,
)
from workbench.papers.self_verification import tables
from workbench.papers.self_verification.paper import BENCHMARK, PUBLISHED, published
from workbench.papers.self_verification.presets import CONTROL


def test_metrics_are_means_with_their_published_figures():
    made = {m["name"]: m for m in tables.metrics(study(comparison(RIGHT), comparison(OTHER)))}
    assert made["acc_sv"]["value"] == 0.5
    assert made["acc_sv"]["n"] == 2
    assert made["acc_sv"]["published"] == pytest.approx(0.6514)
    assert made["acc_greedy"]["published"] == pytest.approx(0.6081)
    assert made["sv_minus_greedy"]["value"] == -0.5
    assert made["share_contested"]["value"] == 1.0
    assert made["tokens_sv"]["n"] == 2
    assert made["tokens_sv_early_stop"]["value"] == 15
    assert made["acc_sv_first_condition"]["value"] == 0.5
    assert "acc_sv_true_or_false" not in made
    assert "sv_picks_right_reading" not in made


def test_the_record_holds_every_setting_by_which_its_numbers_change():
    made = study(comparison(RIGHT))
    recorded = tables.parameters(made)
    assert recorded["seeds"] == made.seeds
    for name in "k p sc shots chat max_new_tokens verification extraction masking".split():
        assert recorded[name] == getattr(made.settings, name)


def test_the_same_question_under_another_seed_is_no_new_evidence():
    repeated = [comparison(RIGHT, OTHER), comparison(RIGHT, OTHER)]
    assert {m["n"] for m in tables.metrics(study(*repeated))} == {4}
    once, twice = (tables.differences([comparison(RIGHT, OTHER)] * k)[0] for k in (1, 2))
    assert once["questions"] == 2
    assert once == twice


def test_intervals_tell_shared_questions_from_own():
    """Ten questions under three seeds, the same ones or thirty."""

    def made(own):
        seeds = [
            comparison(*(
                replace(RIGHT if i < 5 else WRONG, problem=replace(PROBLEM, id=f"1-{own * s}-{i}"))
                for i in range(10)
            ))
            for s in range(3)
        ]  # fmt: skip
        return {m["name"]: m for m in tables.metrics(study(*seeds))}

    shared, own = made(False), made(True)
    for found in (shared, own):
        assert (found["acc_sv"]["value"], found["acc_sv"]["n"]) == (0.5, 30)
        assert found["acc_sv"]["unit"] == "seeds and questions"
        for name in ("tokens_sv", "tokens_sv_early_stop"):
            assert (found[name]["ci95"], found[name]["unit"]) == (None, None)
    ten, thirty = (
        np.ptp(binomtest(n // 2, n).proportion_ci(0.95, method="wilson")[:]) for n in (10, 30)
    )
    assert np.ptp(shared["acc_sv"]["ci95"]) == pytest.approx(ten, rel=0.2)
    assert np.ptp(own["acc_sv"]["ci95"]) == pytest.approx(thirty, rel=0.1)
    none = binomtest(0, 10).proportion_ci(0.95, method="wilson")
    assert shared["share_unanswered"]["ci95"] == pytest.approx([0, none.high])


def test_methods_that_never_differ_have_a_bound_on_both_sides():
    same = comparison(RIGHT, OTHER)
    same.right["greedy"] = same.right["sv"]
    (row, *_) = tables.differences([same])
    high = binomtest(0, 2).proportion_ci(0.95, method="wilson").high
    assert (row["difference"], row["95 % CI"]) == (0, f"[{-high:+.3f}, {high:+.3f}]")
    better = comparison(RIGHT, replace(RIGHT, problem=OTHER.problem))
    better.right["greedy"] = [0.0, 1.0]
    assert tables.differences([better])[0]["95 % CI"].startswith("[-")


def test_shares_of_a_random_pick_stay_within_0_and_1():
    some = comparison(RIGHT, WRONG, OTHER)
    some.right["random"] = [0.0, 0.0, 0.5]
    rows = {r["method"]: r["95 % CI"] for r in tables.accuracies([some])}
    low, high = map(float, rows[tables.METHODS["random"]].strip("[]").split(", "))
    assert 0 < low < 1 / 6 < high < 1


def test_stages_have_a_row_and_a_metric_each():
    made = study(comparison(RIGHT), **{"sums-early": [comparison(OTHER)], CONTROL: []})
    del made.stages[CONTROL]
    (row,) = tables.stages(made)
    assert (row["model"], row["questions"], row["SV minus greedy"]) == ("sums-early", 1, -1.0)
    (early,) = [m for m in tables.metrics(made) if m["name"] == "sv_minus_greedy_early"]
    assert early["value"] == -1
    assert tables.readings(made) == []


def test_variants_without_tokens_of_their_own_show_none():
    rows = {r["verification"]: r for r in tables.variants(study(comparison(RIGHT, OTHER)))}
    assert rows["all conditions"] == {
        "verification": "all conditions", "accuracy": 0.5, "tokens": 15.0,
    }  # fmt: skip
    assert rows["first condition"]["tokens"] is None


def test_modes_count_every_question_once():
    fallback = replace(RIGHT, mode="tfv_fallback")
    unread = replace(question(["", "", ""], []), mode="none")
    silent = question(["7", "9"], [[[0, 0]], [[0, 0]]])
    tied = question(["9", "7"], [[[1, 0]], [[0, 1]]])
    everything = [RIGHT, fallback, replace(AGREED, mode="none"), silent, silent, tied]
    rows = tables.modes([comparison(*everything[:4]), comparison(*everything[4:])])
    rows += tables.modes([comparison(unread)])
    assert {row["settled by"]: row["questions"] for row in rows} == {
        "masked conditions": 1,
        "true or false, as nothing could be masked": 1,
        "the order of candidates: every one scored 0": 2,
        "the order of candidates: the best were tied": 1,
        "nothing: one candidate": 1,
        "nothing: no readable answer": 1,
    }


def test_published_tables_hold_the_papers_own_arithmetic():
    """Mean gain over the eight datasets 2.326 points; Table 2's random pick is 1 / distinct."""
    value = {(r["model"], r["metric"], r["dataset"]): r["value"] for r in PUBLISHED}
    gains = [
        value["code-davinci-002", "acc_sv", d] - value["code-davinci-002", "acc_cot", d]
        for d in BENCHMARK
    ]
    assert np.mean(gains) == pytest.approx(2.326, abs=5e-4)
    for d in ("gsm8k", "addsub", "aqua", "multiarith", "singleeq", "svamp"):
        mean = value["code-davinci-002", "distinct", d]
        assert value["code-davinci-002", "random_pick", d] == pytest.approx(100 / mean, abs=0.2)
    assert published("acc_sc", "svamp") == (
        pytest.approx(0.8677),
        "code-davinci-002, svamp, Table 1, official extraction",
    )
    assert published("acc_sv", "coin_flip") == (None, None)


def test_published_tables_as_rows():
    rows = {(r["model"], r["method"]): r for r in tables.table_1()}
    assert len(rows) == 8
    assert rows["code-davinci-002", "sv"]["gsm8k"] == 65.14
    assert all(set(BENCHMARK) < set(row) for row in rows.values())
    assert [r["sv_pick"] for r in tables.table_2() if r["published"] == "svamp"] == [58.4]
