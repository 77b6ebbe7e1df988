"""The feature table against scipy, scikit-learn, enumeration and loops over the stored rows."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import permutation_test
from sklearn.metrics import roc_auc_score

from tests.helpers.feature_toys import ROWS, SAE, dense
from tests.helpers.fpo_toys import M, toy_sae
from workbench.errors import FeatureError
from workbench.sae.table import auroc, feature_table, nearest_features, preference_effect, waterfall


def sparse(dense):
    return scipy.sparse.csr_matrix(np.asarray(dense, float))


few = st.integers(1, 7).flatmap(
    lambda n: st.tuples(
        *2 * [arrays.arrays(float, (n, 3), elements=st.sampled_from([0, 0, 0.5, 1, 2]))]
    )
)


@settings(max_examples=80, deadline=None)
@given(few)
def test_auroc_is_that_of_sklearn_with_ties_and_zeros(both):
    chosen, rejected = both
    label = [1] * len(chosen) + [0] * len(rejected)
    expected = [roc_auc_score(label, np.concatenate([chosen, rejected])[:, i]) for i in range(3)]
    assert np.allclose(auroc(sparse(chosen), sparse(rejected)), expected)


def test_the_permutation_p_is_that_of_all_sign_flips():
    rng = np.random.default_rng(0)
    chosen, rejected = rng.poisson(1.0, (8, 5)) / 4, rng.poisson(0.6, (8, 5)) / 4
    chosen[:, 4] = rejected[:, 4] = 0
    found = preference_effect(sparse(chosen), sparse(rejected), permutations=20_000)
    gap = chosen - rejected
    every = np.array(list(itertools.product((-1, 1), repeat=8)))
    exact = (np.abs(every @ gap) >= np.abs(gap.sum(0)) - 1e-12).mean(0)
    assert np.allclose(found["p"][:4], exact[:4], atol=0.015)
    theirs = permutation_test(
        (gap[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert exact[0] == pytest.approx(theirs, abs=0.01)
    assert np.isnan(found["p"][4])
    # As many flips as allowed beat it, and the order that was observed: never 0.
    clear = preference_effect(sparse(np.ones((20, 1))), sparse(np.zeros((20, 1))), permutations=99)
    assert clear["p"].tolist() == [1 / 100]
    assert np.isnan(found["q"][4])


def test_effect_and_standardised_effect_by_hand():
    chosen, rejected = sparse([[1, 0], [2, 0], [4, 3]]), sparse([[0, 0], [0, 0], [1, 3]])
    found = preference_effect(chosen, rejected, permutations=10)
    assert found["effect"].tolist() == [2, 0]
    assert found["dz"].tolist() == pytest.approx(
        [2.0, 0.0]
    )  # gaps 1, 2, 3: mean 2, standard deviation 1
    same = preference_effect(sparse([[1.0], [2.0]]), sparse([[0.5], [1.5]]), permutations=10)
    assert np.isinf(same["dz"][0])


def test_the_false_discovery_rate_is_held_where_nothing_is_true():
    """Of lists that claim something, none would be right: at most 5 % of runs may claim any."""
    rng = np.random.default_rng(1)
    claimed = 0
    for seed in range(60):
        chosen, rejected = (sparse(rng.poisson(0.5, (40, 30))) for _ in range(2))
        q = preference_effect(chosen, rejected, permutations=999, seed=seed)["q"]
        claimed += bool((q <= 0.05).any())
    assert claimed <= 8  # of 60; 3 expected, 8 with probability below 1 %
    real = sparse(rng.poisson(3, (40, 30)))
    found = preference_effect(real, sparse(rng.poisson(0.5, (40, 30))), permutations=999)
    assert (found["q"] <= 0.05).all()


def test_q_is_the_step_up_of_benjamini_and_hochberg():
    rng = np.random.default_rng(2)
    chosen, rejected = (sparse(rng.poisson(r, (12, 9))) for r in (1.0, 0.6))
    found = preference_effect(chosen, rejected, permutations=500)
    p, m = found["p"], 9
    order = np.argsort(p)
    expected, least = np.empty(m), 1.0
    for rank in range(m, 0, -1):
        least = min(least, p[order[rank - 1]] * m / rank)
        expected[order[rank - 1]] = least
    assert np.allclose(found["q"], expected)


def test_columns_are_those_of_the_stored_tokens(run, table):
    for who in ("policy", "ref"):
        codes = np.concatenate([dense(run, who, s) for s in ("chosen", "rejected")])
        active = codes > 0
        assert np.allclose(table[f"density_{who}"], active.mean(0))
        alive = active.any(0)
        assert alive.any()
        assert not alive.all()
        expected = codes.sum(0)[alive] / active.sum(0)[alive]
        assert np.allclose(table[f"mean_{who}"][alive], expected, rtol=2e-3)
        assert (table[f"mean_{who}"][~alive] == 0).all()
        assert np.allclose(table[f"max_{who}"], codes.max(0), rtol=1e-3)
        assert np.allclose(10 ** table[f"log10_density_{who}"][alive], active.mean(0)[alive])
        assert table[f"log10_density_{who}"][~alive].isna().all()
        effect = run.pooled[who, "chosen"] - run.pooled[who, "rejected"]
        assert np.allclose(table[f"effect_{who}"], effect.toarray().mean(0), atol=1e-6)
    for side in ("chosen", "rejected"):
        gap = (run.pooled["policy", side] - run.pooled["ref", side]).toarray()
        assert np.allclose(table[f"drift_{side}"], gap.mean(0), atol=1e-5)
        assert np.allclose(table[f"drift_rms_{side}"] ** 2, (gap**2).mean(0), atol=1e-4)
        policy, ref = ((dense(run, w, side) > 0).mean(0) for w in ("policy", "ref"))
        there = (policy > 0) & (ref > 0)
        ratio = table[f"density_ratio_{side}"]
        assert np.allclose(ratio[there], (policy / np.where(ref, ref, 1))[there])
        assert ratio[(policy == 0) & (ref == 0)].isna().all()
        rates = table[[f"selected_{n}_{side}" for n in ("both", "policy", "ref")]].sum(1)
        assert (rates <= 1 + 1e-12).all()


def test_shares_sum_to_d_and_the_waterfall_covers_most_of_it(run, table):
    for s, side in enumerate(("chosen", "rejected")):
        d = run.counts.d[s] / len(ROWS)
        assert table[f"share_{side}"].sum() == pytest.approx(d, rel=1e-6)
        steps = waterfall(table, side)
        assert steps.sum() == pytest.approx(d, rel=1e-6)
        assert steps.drop("rest").sum() >= 0.8 * d
        assert steps.drop("rest")[:-1].sum() < 0.8 * d
        assert steps.drop("rest").is_monotonic_decreasing
    nothing = table.assign(share_rejected=0.0)
    assert waterfall(nothing).to_dict() == {"rest": 0.0}
    assert 0 < table["loss_pull"].sum() < 0.7 * 0.9 * table["share_rejected"].sum()


def test_decoder_columns_by_loops(table):
    w_dec, w_enc = SAE.W_dec.numpy(), SAE.W_enc.numpy()
    unit = w_dec / np.linalg.norm(w_dec, axis=1, keepdims=True)
    assert np.allclose(table["decoder_norm"], np.linalg.norm(w_dec, axis=1), rtol=1e-5)
    for i in range(0, M, 9):
        cosine = w_enc[:, i] @ w_dec[i] / np.linalg.norm(w_enc[:, i]) / np.linalg.norm(w_dec[i])
        assert table["encoder_cosine"][i] == pytest.approx(cosine, abs=1e-5)
        others = sorted(((unit[i] @ unit[j], j) for j in range(M) if j != i), reverse=True)[:5]
        assert table["nearest"][i] == [j for _, j in others]
        assert np.allclose(table["nearest_cosine"][i], [c for c, _ in others], atol=1e-5)
    whole, parts = nearest_features(SAE, 5), nearest_features(SAE, 5, budget=4 * M * 7)
    assert whole[0] == parts[0]


def test_a_table_comes_back_from_parquet(table, tmp_path):
    table.to_parquet(tmp_path / "features.parquet")
    found = pd.read_parquet(tmp_path / "features.parquet")
    assert list(found.columns) == list(table.columns)
    assert np.array_equal(found["share_rejected"], table["share_rejected"])
    assert [list(x) for x in found["nearest"]] == table["nearest"].tolist()


def test_a_table_with_another_sae_than_the_diffs_is_refused(run):
    with pytest.raises(FeatureError, match="built with another SAE"):
        feature_table(run, toy_sae("topk", seed=2))
