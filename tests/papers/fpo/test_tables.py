"""FPO's tables by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, t

from tests.helpers.fpo_study import COSTS, STUDY, TRAINED, evaluation, trained
from workbench.papers.fpo import published, tables


def test_the_table_is_the_mean_and_range_over_seeds():
    rows = {r["method"]: r for r in tables.methods(TRAINED)}
    assert list(rows) == ["LN-DPO", "FPO α=0.5", "FPO α=50", "TDPO-2"]
    assert rows["LN-DPO"]["accuracy"] == "0.850 [0.800, 0.900]"
    assert rows["LN-DPO"]["D rejected"] == "5.00 [4.00, 6.00]"
    assert rows["FPO α=50"]["KL rejected"] == "2.50 [2.00, 3.00]"
    assert rows["TDPO-2"]["accuracy, log p a token"] == "1.00 [1.00, 1.00]"


def test_claims_hold_where_they_do_in_every_seed():
    found = {c["claim"]: c for c in tables.claims(TRAINED)}
    tenfold = found["D(rejected) falls more than tenfold from α=0 to 50"]
    assert tenfold["by seed"] == "20×, 8×"
    assert tenfold["holds"] == "in 1 of 2"
    assert found["KL(rejected) is lower at α=50 than at 0"]["holds"] == "yes"
    early = found["the paper's α=0.5 already lowers KL(rejected)"]
    assert (early["by seed"], early["holds"]) == ("0.89×, 1.50×", "in 1 of 2")
    accuracy = found["accuracy is within 2 points at α=50"]
    assert (accuracy["by seed"], accuracy["holds"]) == ("+0.000, -0.100", "in 1 of 2")
    # Seed 0: D falls 4, 1, .2 and KL goes 8, 9, 2; seed 1: 6, 1, .75 and 6, 4, 3.
    ranks = found["D and KL order the alphas alike (Spearman)"]
    assert (ranks["by seed"], ranks["holds"]) == ("0.50, 1.00", "in 1 of 2")
    (nothing,) = tables.claims(TRAINED[:2])
    assert nothing["holds"] == ""


def test_no_claim_holds_where_nothing_was_measured():
    still = [
        trained(name, "fpo", alpha, seed, evaluation(0.9, 0.0, 0.0))
        for name, alpha in (("LN-DPO", 0.0), ("FPO α=0.5", 0.5), ("FPO α=50", 50.0))
        for seed in (0, 1)
    ]
    rows = tables.claims(still)
    assert len(rows) == 6
    for row in rows:
        if row["claim"].startswith("accuracy"):
            assert (row["by seed"], row["holds"]) == ("+0.000, +0.000", "yes")
        else:
            assert (row["by seed"], row["holds"]) == ("–, –", "not measured: nothing moved")
    # One seed that moved, and fell to nothing, counts; the other says nothing.
    moved = [trained("LN-DPO", "fpo", 0.0, 0, evaluation(0.9, 3.0, 2.0)), *still[1:]]
    found = {c["claim"]: c for c in tables.claims(moved)}
    tenfold = found["D(rejected) falls more than tenfold from α=0 to 50"]
    assert (tenfold["by seed"], tenfold["holds"]) == ("to 0, –", "in 1 of 1")
    free = found["D(chosen), which nothing holds, falls less than tenfold by α=50"]
    assert (free["by seed"], free["holds"]) == ("to 0, –", "in 0 of 1")


def test_recorded_metrics_carry_the_published_values_of_their_own_method():
    found = {m["name"]: m for m in tables.metrics(STUDY)}
    assert found["d_rejected_alpha0"]["value"] == pytest.approx(5.0)
    assert found["d_rejected_alpha50"]["value"] == pytest.approx(0.475)
    # Two seeds at 6 and 8, all pairs alike: Student's quantile of one degree of freedom.
    assert found["kl_rejected_alpha0"]["ci95"] == pytest.approx([0, 7 + t.ppf(0.975, 1)])
    # FPO is reported at the paper's alpha, not at the best or the largest.
    assert found["accuracy_fpo"]["value"] == pytest.approx(0.9)
    assert found["accuracy_fpo"]["published"] == 0.641
    assert found["accuracy_ln_dpo"]["published"] is None
    assert found["accuracy_tdpo2"]["published"] == 0.642
    assert found["peak_bytes_tdpo2"]["value"] == 200
    assert found["peak_bytes_tdpo2"]["published"] == 53.5e9
    assert found["step_ratio_fpo_vs_ln_dpo"]["value"] == 1.02
    assert found["stream_drift_outside_alpha50"]["value"] == pytest.approx(0.15)
    assert found["sae_fvu"]["value"] == 0.1
    assert found["sae_fvu"]["ci95"] is None


def test_seeds_that_agree_pair_by_pair_are_no_new_evidence():
    """TDPO-2's seeds are the same in every pair: what varies is the pairs."""
    right = np.arange(20) < 15
    found = replace(evaluation(1.0, 3.0, 5.0), score_chosen=np.where(right, 1.0, -1.0))
    rows = []
    for count in (1, 3):
        trained = [replace(TRAINED[-1], seed=s, evaluation=found) for s in range(count)]
        rows.append({m["name"]: m for m in tables.metrics(replace(STUDY, trained=trained))})
    once, thrice = (r["accuracy_tdpo2"] for r in rows)
    assert (once["n"], thrice["n"]) == (20, 60)
    assert (once["unit"], thrice["unit"]) == ("pairs", "seeds and pairs")
    wilson = binomtest(15, 20).proportion_ci(0.95, method="wilson")
    assert once["ci95"] == pytest.approx([wilson.low, wilson.high])
    # Its variance is now estimated (19 degrees of freedom), no longer given by the share.
    assert np.ptp(once["ci95"]) < np.ptp(thrice["ci95"]) < 1.1 * np.ptp(once["ci95"])


@pytest.mark.parametrize("seeds", [1, 3])
def test_pairs_of_one_prompt_that_agree_are_no_new_evidence(seeds):
    """Five prompts of four pairs each; all of a prompt, and all seeds, have its value."""
    by_prompt = np.array([1.0, 4.0, 2.0, 7.0, 3.0])
    found = replace(evaluation(1.0, 3.0, 5.0), kl_rejected=np.repeat(by_prompt, 4))
    same = [replace(TRAINED[0], seed=s, evaluation=found) for s in range(seeds)]
    rows = [{"prompt_ids": [7, n // 4]} for n in range(20)]
    study = replace(STUDY, trained=same, rows=rows, shifts={"LN-DPO": [(0.2, 0.5)]}, costs=[])
    row = {m["name"]: m for m in tables.metrics(study)}["kl_rejected_alpha0"]
    half = t.ppf(0.975, 4) * by_prompt.std(ddof=1) / 5**0.5
    assert row["ci95"] == pytest.approx([max(0, 3.4 - half), 3.4 + half])
    assert row["unit"] == ("seeds, pairs and prompts" if seeds > 1 else "pairs and prompts")


def test_every_interval_names_what_it_is_over():
    for row in tables.metrics(STUDY):
        assert bool(row["ci95"]) == bool(row["unit"]), row["name"]
        over = (
            "pairs" if row["name"].partition("_")[0] in ("accuracy", "entropy", "d", "kl") else ""
        )
        assert over in (row["unit"] or over), row["name"]
    kinds = {m["name"]: m["unit"] for m in tables.metrics(STUDY)}
    assert kinds["peak_bytes_fpo"] == "steps"
    assert kinds["step_ratio_fpo_vs_ln_dpo"] == "pairs of steps"
    assert kinds["stream_drift_alpha50"] == "seeds"


def test_published_and_own_values_stand_in_one_row():
    rows = {r["method"]: r for r in tables.beside(STUDY)}
    assert list(rows) == ["FPO α=0.5", "LN-DPO", "TDPO-2"]
    assert rows["TDPO-2"]["peak GB, published"] == 53.5
    assert rows["TDPO-2"]["peak GB, here"] == pytest.approx(200e-9)
    assert rows["LN-DPO"]["peak GB, here"] is None


def test_win_rates_are_clear_only_where_they_leave_the_binomial_interval():
    rows = published.win_rates()
    assert [r["FPO against"] for r in rows] == ["SFT", "DPO", "TDPO-1", "TDPO-2", "SimPO"]
    clear = sum(r["clear of a tie"].count("AlpacaEval") for r in rows)
    assert clear == 4  # the four cells at 54.0 and above (§1)
    assert not any("Arena" in r["clear of a tie"] for r in rows)


def test_costs_are_medians_and_the_saving_is_of_the_other():
    assert tables.saving(COSTS) == pytest.approx(0.5)
    rows = tables.costs(STUDY)
    assert [r["method"] for r in rows] == ["FPO", "TDPO-2"]
    assert rows[0]["step, s"] == 2.0
    assert [r["reference"] for r in rows] == ["offline", "online"]


def test_costs_that_are_not_measured_are_said_and_not_recorded():
    without = replace(STUDY, costs=[], step_ratios=[])
    assert tables.costs(without) == [{"method": "not measured (costs=0)"}]
    assert "not measured" in str(tables.savings(without))
    names, every = ([m["name"] for m in tables.metrics(s)] for s in (without, STUDY))
    left = {"peak_bytes_fpo", "peak_bytes_tdpo2", "step_ratio_fpo_vs_ln_dpo"}
    assert set(every) - set(names) == left
