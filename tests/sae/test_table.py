"""The feature table against scipy, scikit-learn, enumeration and loops over the stored rows."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import kurtosis, permutation_test, skew
from sklearn.metrics import roc_auc_score
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.helpers.fpo_toys import M, dictionary, llama, tokenised_pairs, tokenizer
from workbench.errors import FeatureError
from workbench.sae.card import contexts, histogram, largest_pairs, save_neuronpedia
from workbench.sae.diff import diff_features
from workbench.sae.lens import lens, norm_gain
from workbench.sae.table import auroc, feature_table, nearest_features, preference_effect, waterfall

HOOK = "blocks.1.hook_resid_post"
SAE = dictionary("topk").requires_grad_(False)
POLICY, REFERENCE = llama(seed=3).eval(), llama().eval()
TOKENIZER = tokenizer()


ROWS = tokenised_pairs(14, seed=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    return diff_features(
        POLICY, REFERENCE, ROWS, SAE, HOOK, folder, k=5, batch=3, shard=4, alpha=0.7, beta=0.9
    )


@pytest.fixture(scope="module")
def table(run):
    return feature_table(run, SAE, permutations=200)


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


def dense(run, who, side):
    """Codes of every response token, from what is stored."""
    parts = [
        run.tokens(r, ("chosen", "rejected").index(side))[("policy", "ref").index(who)].toarray()
        for r in range(len(ROWS))
    ]
    return np.concatenate(parts)


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


def gemma():
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=63, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0,
        )
    )  # fmt: skip
    return model.eval()


def gpt2():
    torch.manual_seed(0)
    sizes = {"vocab_size": 63, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(**sizes)).eval()


@pytest.mark.parametrize("make", [llama, gemma, gpt2])
def test_the_lens_is_what_a_strong_direction_does_to_the_logits(make):
    """For a long vector along d the final norm's output is gain ⊙ d over its size, and bias."""
    model = make().eval()
    for name, weight in model.named_parameters():
        if name.endswith(("norm.weight", "ln_f.weight", "ln_f.bias")):
            weight.data += 0.5 * torch.randn(weight.shape)
    norm = model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm
    found = lens(model, SAE, HOOK, TOKENIZER, [0, 7], top=63)
    names = TOKENIZER.convert_ids_to_tokens(range(63))
    for i in (0, 7):
        with torch.no_grad():
            long = 1e4 * SAE.W_dec[i]
            logits = model.lm_head(norm(long) - norm(-long)).double() / 2
        expected = [names[t] for t in logits.argsort(descending=True)]
        assert found.loc[i, "up"] == expected
        assert found.loc[i, "down"] == expected[::-1]
        falling, seen = np.sort(logits.numpy())[::-1], np.array(found.loc[i, "up_logits"])
        assert np.allclose(seen / seen[0], falling / falling[0], atol=1e-4)
        assert found.loc[i, "skew"] == pytest.approx(skew(logits), abs=1e-3)
        assert found.loc[i, "kurtosis"] == pytest.approx(kurtosis(logits), abs=1e-3)


def test_gains_are_the_families_own():
    model = gemma()
    model.model.norm.weight.data = torch.linspace(-0.5, 2, 32)
    assert torch.allclose(norm_gain(model), 1 + model.model.norm.weight, atol=1e-5)
    model = llama()
    model.model.norm.weight.data = torch.linspace(-0.5, 2, 32)
    assert torch.allclose(norm_gain(model), model.model.norm.weight.data, atol=1e-5)


def test_parts_of_a_lens_are_the_whole_and_heads_pass_through_o_proj():
    whole = lens(REFERENCE, SAE, HOOK, TOKENIZER)
    parts = lens(REFERENCE, SAE, HOOK, TOKENIZER, budget=4 * 63 * 5)
    assert list(whole["up"]) == list(parts["up"])
    assert whole.index.tolist() == list(range(M))
    z = lens(REFERENCE, SAE, "blocks.1.attn.hook_z", TOKENIZER, [3], top=63)
    written = REFERENCE.model.layers[1].self_attn.o_proj.weight @ SAE.W_dec[3]
    logits = REFERENCE.lm_head.weight @ (written * REFERENCE.model.norm.weight)
    names = TOKENIZER.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
    assert z.loc[3, "up"] == names
    with pytest.raises(FeatureError, match="feature 99: the dictionary has 0 to 63"):
        lens(REFERENCE, SAE, HOOK, TOKENIZER, [99])


def test_contexts_show_the_tokens_and_both_models_on_them(run):
    i = int(np.argmax((run.counts.active[0].sum(0)) > 10))
    found = contexts(run, i, ROWS, TOKENIZER, window=3)
    top = [c for c in found if c["kind"] == "top"]
    values = [c["value"] for c in top]
    assert values == sorted(values, reverse=True)
    assert len({c["kind"] for c in found}) > 5
    for c in found:
        row = ROWS[c["pair"]]
        ids = torch.tensor([row["prompt_ids"] + row[f"{c['side']}_ids"]])
        names = TOKENIZER.convert_ids_to_tokens(ids[0].tolist())
        for model, shown in ((POLICY, c["policy"]), (REFERENCE, c["ref"])):
            with torch.no_grad():
                h = model(ids, output_hidden_states=True).hidden_states[2][0]
            codes = SAE.encode(h)[:, i].tolist()
            begin = len(row["prompt_ids"]) - 1
            codes = [v if begin <= t < len(codes) - 1 else 0 for t, v in enumerate(codes)]
            starts = [
                s for s in range(len(names)) if names[s : s + len(c["tokens"])] == c["tokens"]
                and np.allclose(codes[s : s + len(c["tokens"])], shown, rtol=2e-3, atol=1e-3)
            ]  # fmt: skip
            assert starts
        assert max(c["policy"][c["at"]], c["ref"][c["at"]]) == pytest.approx(c["value"], rel=2e-3)
    deciles = [c for c in found if c["kind"] != "top"]
    numbers = [int(c["kind"].split()[1]) for c in deciles]
    assert numbers == sorted(numbers, reverse=True)
    assert [c["value"] for c in deciles] == sorted((c["value"] for c in deciles), reverse=True)


def test_contexts_of_other_rows_or_features_are_refused(run):
    with pytest.raises(FeatureError, match="3 rows, but"):
        contexts(run, 0, ROWS[:3], TOKENIZER)
    with pytest.raises(FeatureError, match="feature 64: the run has 0 to 63"):
        contexts(run, 64, ROWS, TOKENIZER)


def test_histogram_and_pairs(run):
    i = int(run.counts.active[0].sum(0).argmax())
    bins = histogram(run, i)
    codes = np.concatenate([dense(run, "policy", s) for s in ("chosen", "rejected")])[:, i]
    expected = np.histogram(codes[codes > 0], bins["edges"])[0]
    assert np.abs(np.array(bins["policy"]) - expected).sum() <= 2
    found = largest_pairs(run, i, 4)
    gap = np.array(
        [(run.pooled["policy", "rejected"][r, i] - run.pooled["ref", "rejected"][r, i])
         for r in range(len(ROWS))]
    )  # fmt: skip
    assert found["pair"].tolist() == np.argsort(-np.abs(gap), kind="stable")[:4].tolist()
    assert np.allclose(found["drift"], gap[found["pair"]])


def test_a_neuronpedia_page_holds_what_the_table_says(run, table, tmp_path):
    i = int(run.counts.active[0].sum(0).argmax())
    shown = lens(POLICY, SAE, HOOK, TOKENIZER, [i])
    path = tmp_path / "page.json"
    save_neuronpedia(
        run, table, shown, ROWS, TOKENIZER, path, model_name="toy", features=[i]
    )  # fmt: skip
    (page,) = json.loads(path.read_text())
    assert (page["modelId"], page["index"], page["hookName"]) == ("toy", str(i), HOOK)
    assert page["frac_nonzero"] == pytest.approx(table["density_policy"][i])
    assert sum(page["freq_hist_data_bar_heights"]) == run.counts.active[0, :, i].sum()
    assert page["pos_str"] == shown.loc[i, "up"]
    assert page["topkCosSimIndices"] == table["nearest"][i]
    first = page["activations"][0]
    assert first["maxValue"] == max(first["values"])
    assert first["values"][first["maxValueTokenIndex"]] == first["maxValue"]
