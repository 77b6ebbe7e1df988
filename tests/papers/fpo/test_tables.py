"""FPO's tables by hand, its figures' data, its costs against what must be held at least."""

from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import ModelError
from workbench.papers.fpo import costs, figures, tables
from workbench.papers.fpo.evaluate import Evaluation
from workbench.papers.fpo.paper import ABLATION_ALPHA, LABELS, PUBLISHED, Settings
from workbench.papers.fpo.presets import embedded
from workbench.papers.fpo.study import Run, load_policy
from workbench.sae.dictionary import load_sae
from workbench.sae.diff import diff_features
from workbench.sae.health import Health
from workbench.sae.lens import lens
from workbench.sae.table import feature_table
from workbench.worlds import styles

HEALTH = Health(0.1, 6.0, 0.4, 1.7, 1.8, 5.0, 500)


def evaluation(accuracy, d, kl, n=20, entropy=1.5):
    """n pairs of which the first share is right."""
    right = np.arange(n) < round(accuracy * n)
    ones = np.ones(n)
    return Evaluation(
        score_w=np.where(right, 1.0, -1.0), score_l=0 * ones, logp_w=-ones, logp_l=-2 * ones,
        kl_w=kl / 2 * ones, kl_l=kl * ones, d_w=d / 2 * ones, d_l=d * ones, entropy=entropy * ones,
    )  # fmt: skip


def run(name, method, alpha, seed, found, u=(1.0, 2.0)):
    curves = {"fpo/u": [(5, u[0]), (10, u[1])], "fpo/margin": [(5, 0.5), (10, 1.0)]}
    return Run(name, method, alpha, seed, found, curves, Path("nowhere"), 3.0)


RUNS = [
    run("LN-DPO", "fpo", 0.0, 0, evaluation(0.9, 4.0, 8.0)),
    run("LN-DPO", "fpo", 0.0, 1, evaluation(0.8, 6.0, 6.0)),
    run("FPO α=0.5", "fpo", 0.5, 0, evaluation(0.9, 1.0, 9.0)),
    run("FPO α=0.5", "fpo", 0.5, 1, evaluation(0.9, 1.0, 4.0)),
    run("FPO α=50", "fpo", 50.0, 0, evaluation(0.9, 0.2, 2.0)),
    run("FPO α=50", "fpo", 50.0, 1, evaluation(0.7, 0.75, 3.0)),
    run("TDPO-2", "tdpo2", 0.5, 0, evaluation(1.0, 3.0, 5.0)),
    run("TDPO-2", "tdpo2", 0.5, 1, evaluation(1.0, 3.0, 5.0)),
]
COSTS = [
    {"method": "fpo", "peak_bytes": [90, 100, 110], "seconds": [1.0, 3.0, 2.0]},
    {"method": "tdpo2", "peak_bytes": [200, 200, 900], "seconds": [4.0, 4.0, 4.0]},
]
MOVED = {part: {n: [0.1, 0.2] for n in ("LN-DPO", "FPO α=0.5", "FPO α=50")}
         for part in ("all", "outside the dictionary")}  # fmt: skip


def test_the_table_is_the_mean_and_range_over_seeds():
    rows = {r["method"]: r for r in tables.rows(RUNS)}
    assert list(rows) == ["LN-DPO", "FPO α=0.5", "FPO α=50", "TDPO-2"]
    assert rows["LN-DPO"]["accuracy"] == "0.850 [0.800, 0.900]"
    assert rows["LN-DPO"]["D rejected"] == "5.00 [4.00, 6.00]"
    assert rows["FPO α=50"]["KL rejected"] == "2.50 [2.00, 3.00]"
    assert rows["TDPO-2"]["accuracy, log p a token"] == "1.00 [1.00, 1.00]"


def test_claims_hold_where_they_do_in_every_seed():
    found = {c["claim"]: c for c in tables.claims(RUNS)}
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
    assert tables.claims(RUNS[:2]) == []


def test_recorded_metrics_carry_the_published_values_of_their_own_method():
    settings = Settings(methods=("fpo", "tdpo2"), alphas=(0.0, 0.5, 50.0))
    ratios = [1.0, 1.02, 1.3]
    found = {m["name"]: m for m in tables.results(RUNS, COSTS, ratios, HEALTH, MOVED, settings)}
    assert found["d_rejected_alpha0"]["value"] == pytest.approx(5.0)
    assert found["d_rejected_alpha50"]["value"] == pytest.approx(0.475)
    assert found["kl_rejected_alpha0"]["ci95"] == [6.0, 8.0]
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
    for metric in found.values():
        assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]


def test_published_and_own_values_stand_in_one_row():
    settings = Settings(methods=("fpo", "tdpo2"), alphas=(0.0, 0.5, 50.0))
    rows = {r["method"]: r for r in tables.beside(RUNS, COSTS, settings)}
    assert list(rows) == ["FPO α=0.5", "LN-DPO", "TDPO-2"]
    assert rows["TDPO-2"]["peak GB, published"] == 53.5
    assert rows["TDPO-2"]["peak GB, here"] == pytest.approx(200e-9)
    assert rows["LN-DPO"]["peak GB, here"] is None


def test_win_rates_are_clear_only_where_they_leave_the_binomial_interval():
    rows = tables.win_rates()
    assert [r["FPO against"] for r in rows] == ["SFT", "DPO", "TDPO-1", "TDPO-2", "SimPO"]
    clear = sum(r["clear of a tie"].count("AlpacaEval") for r in rows)
    assert clear == 4  # the four cells at 54.0 and above (§1)
    assert not any("Arena" in r["clear of a tie"] for r in rows)


def test_the_published_row_is_no_cell_of_its_ablation():
    row = {p["metric"]: p["value"] for p in PUBLISHED}
    cells = [c for by_alpha in ABLATION_ALPHA.values() for c in by_alpha.values()]
    best = [(round(a / 100, 3), h) for a, h in cells]
    assert (row["accuracy_fpo"], row["entropy_fpo"]) not in best
    assert row["accuracy_fpo"] in [a for a, _ in best]
    assert row["entropy_fpo"] in [h for _, h in best]


def test_costs_are_medians_and_the_saving_is_of_the_other():
    assert costs.saving(COSTS) == pytest.approx(0.5)
    rows = costs.rows(COSTS)
    assert [r["method"] for r in rows] == ["FPO", "TDPO-2"]
    assert rows[0]["step, s"] == 2.0
    assert [r["reference"] for r in rows] == ["offline", "online"]


def test_tdpo_holds_both_distributions_and_fpo_hardly_more_than_ln_dpo(tmp_path):
    """2 texts of 64 tokens, at least 64 response positions: float32 of policy and reference."""
    on = costs.wide(40_000, 64)
    for pair in costs.random_pairs(on, 3):
        prompt = len(on.tokenizer(pair["prompt"])["input_ids"])
        assert 8 <= prompt <= 32
        for side in ("chosen", "rejected"):
            # The rest is response, and all of it is filled.
            assert len(on.tokenizer(pair["prompt"] + pair[side])["input_ids"]) > 64
    found = {c["method"]: c for c in costs.costs(on, tmp_path, ("fpo", "ln_dpo", "tdpo2"))}
    weights = sum(p.numel() * p.element_size() for p in on.model().parameters())
    peak = {m: float(np.median(c["peak_bytes"])) for m, c in found.items()}
    least = 4 * weights + 2 * 64 * 40_000 * 4  # gradient and Adam; both log-softmaxes
    assert peak["tdpo2"] > least - weights
    dictionary = sum(p.numel() * 4 for p in on.sae.parameters())
    codes = 2 * 64 * on.sae.cfg.d_sae * 4
    assert 0 < peak["fpo"] - peak["ln_dpo"] < dictionary + 4 * codes
    ratios = costs.step_ratios(on, tmp_path, rounds=3)
    assert len(ratios) == 3


def test_curves_are_those_that_were_logged():
    panels = {"LN-DPO": figures.curves(RUNS[:2], "LN-DPO", ("fpo/u", "fpo/margin", "absent"))}
    assert set(panels["LN-DPO"]) == {"fpo/u", "fpo/margin"}


def test_every_method_has_a_name_and_a_formula():
    assert {name for name, *_ in figures.LOSSES} == set(LABELS.values())
    beta = {r["method"]: r["β"] for r in figures.losses(Settings())}
    assert beta["SimPO"] == beta["SimPO+KL"] == 2.0
    assert beta["DPO"] == beta["FPO"] == 0.1


def test_ends_are_the_weakest_and_strongest_constraint_of_a_seed():
    assert [r.name for r in figures.ends(RUNS, 1)] == ["LN-DPO", "FPO α=50"]
    assert [r.seed for r in figures.ends(RUNS, 1)] == [1, 1]
    assert [r.name for r in figures.ends(RUNS[:2], 0)] == ["LN-DPO"]


def test_a_checkpoint_that_is_gone_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no checkpoint, though its results are cached"):
        load_policy(tmp_path / "absent", None)


def test_the_planted_styles_come_back(tmp_path):
    """By effect alone, on shipped pairs: the best features are about the planted words."""
    model, sae = wb.load("styles", device="cpu"), load_sae(embedded() / "sae")
    pairs = []
    for row in wb.load_data("styles", "test")[:200]:
        prompt = model.tokenizer(row["prompt"])["input_ids"]
        sides = {f"{s}_ids": model.tokenizer(row["prompt"] + row[s])["input_ids"][len(prompt) :]
                 for s in ("chosen", "rejected")}  # fmt: skip
        pairs.append({"prompt_ids": prompt, **sides})
    torch.set_num_threads(1)
    found = diff_features(
        model.hf, model.hf, pairs, sae, sae.cfg.metadata.hook_name, tmp_path / "run", k=8
    )
    table = feature_table(found, sae, permutations=1000)
    shown = lens(model.hf, sae, sae.cfg.metadata.hook_name, model.tokenizer)
    rows = figures.tellers(table, shown, found, pairs, model.tokenizer, count=8)
    liked = {*styles.POLITE, *styles.BULLET}
    disliked = {*styles.RUDE, *styles.PLAIN}
    about = {"chosen": 0, "rejected": 0}
    manners = set()
    for row in rows:
        words = set((row["active on"] + " " + row["decoder speaks for"]).split())
        kind = {"chosen": liked, "rejected": disliked}[row["more in"]]
        about[row["more in"]] += bool(words & kind)
        manners |= words & {*styles.POLITE, *styles.RUDE}
        manners |= words & {*styles.BULLET, *styles.PLAIN}
        assert abs(row["AUROC"] - 0.5) > 0.25
        assert row["q"] <= 0.05
    assert sum(about.values()) >= 6
    assert manners & {*styles.POLITE, *styles.RUDE}
    assert manners & {*styles.BULLET, *styles.PLAIN}
    # No reference differs from itself.
    assert table["share_rejected"].sum() == 0
    numbers = figures.card(table, shown, rows[0]["feature"])
    assert numbers[0]["reference"] == numbers[0]["policy"] > 0
    assert figures.pooled_means(found)[0] == figures.pooled_means(found)[1]
