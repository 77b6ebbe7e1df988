"""One pass over pairs against loops over single responses; parts, kills and damage."""

import copy
import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.helpers.fpo_toys import M, llama, tokenised_pairs, toy_sae
from workbench.errors import FeatureError
from workbench.sae import diff
from workbench.sae.counts import EDGES, TOP, Counts
from workbench.sae.diff import FeatureDiff, diff_features, merge_diffs
from workbench.sae.pooling import Constraint

K, ALPHA, BETA = 5, 0.7, 0.9
HOOK = "blocks.1.hook_resid_post"
SAE = toy_sae("jumprelu").requires_grad_(False)
POLICY, REFERENCE = llama(seed=3).eval(), llama().eval()


ROWS = tokenised_pairs(9, seed=2)


def made(out, rows=ROWS, k=K, **more):
    constraint = Constraint(k=k, alpha=ALPHA, beta=BETA)
    settings = {"batch": 2, "shard": 4, **more}
    return diff_features(POLICY, REFERENCE, rows, SAE, HOOK, out, constraint, **settings)


def single(model, row, side):
    """Codes `[tokens, m]` and mean log-probability of one response, alone and unpadded."""
    ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
    start = len(row["prompt_ids"])
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
    said = out.logits[0].log_softmax(-1)[start - 1 : -1].gather(1, ids[0, start:, None])
    return SAE.encode(out.hidden_states[2][0, start - 1 : -1]), said.mean().item()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run") / "whole")


@pytest.fixture(scope="module")
def truth():
    """Every quantity by loops; `places` are (row, side, position, policy and reference codes)."""
    norms = SAE.W_dec.norm(dim=1)
    places, pooled, scores = [], {}, {}
    for r, row in enumerate(ROWS):
        for s, side in enumerate(("chosen", "rejected")):
            codes, said = zip(*(single(m, row, side) for m in (POLICY, REFERENCE)), strict=True)
            scores[r, s] = said[0] - said[1]
            pooled[r, s] = [c.mean(0) * norms for c in codes]
            for t in range(len(codes[0])):
                at = len(row["prompt_ids"]) - 1 + t
                places.append((r, s, at, codes[0][t], codes[1][t]))
    return places, pooled, scores


def test_token_counts_are_those_of_the_loop(run, truth):
    counts, (places, _, _) = run.counts, truth
    for side in (0, 1):
        mine = [p for p in places if p[1] == side]
        assert counts.tokens[side] == len(mine)
        for who in (0, 1):
            codes = torch.stack([p[3 + who] for p in mine]).double().numpy()
            assert np.array_equal(counts.active[who, side], (codes > 0).sum(0))
            assert np.allclose(counts.total[who, side], codes.sum(0), atol=1e-4)
            assert np.allclose(counts.squares[who, side], (codes**2).sum(0), rtol=1e-4)
            assert np.allclose(counts.largest[who, side], codes.max(0), atol=1e-4)
            assert counts.histogram[who, side].sum() == (codes > 0).sum()
            for i in range(0, M, 7):
                active = codes[:, i][codes[:, i] > 0]
                bins = np.concatenate([[0], EDGES, [np.inf]])
                expected = np.histogram(active, bins)[0]
                assert np.abs(counts.histogram[who, side, i] - expected).sum() <= 2


def test_pair_counts_are_those_of_the_loop_and_shares_sum_to_d(run, truth):
    _, pooled, scores = truth
    share, drift, pull = np.zeros((2, M)), np.zeros((2, M)), np.zeros(M)
    selected, d_sum = np.zeros((3, 2, M)), np.zeros(2)
    for r in range(len(ROWS)):
        d = [0.0, 0.0]
        for s in (0, 1):
            ours, theirs = (p.double().numpy() for p in pooled[r, s])
            tops = [{i for i in np.argsort(-p)[:K] if p[i] > 0} for p in (ours, theirs)]
            for n, members in enumerate((tops[0] & tops[1], tops[0] - tops[1], tops[1] - tops[0])):
                selected[n, s, list(members)] += 1
            for i in tops[0] | tops[1]:
                part = (ours[i] - theirs[i]) ** 2 / K
                share[s, i] += part
                d[s] += part
            drift[s] += ours - theirs
            d_sum[s] += d[s]
        u = BETA * (scores[r, 0] - scores[r, 1]) - ALPHA * BETA * (d[1] - d[0])
        weight = ALPHA * BETA / (1 + math.exp(u))
        ours, theirs = (p.double().numpy() for p in pooled[r, 1])
        for i in range(M):
            tops = [set(np.argsort(-p)[:K]) for p in (ours, theirs)]
            if i in tops[0] | tops[1]:
                pull[i] += weight * (ours[i] - theirs[i]) ** 2 / K
    counts = run.counts
    assert counts.pairs == len(ROWS)
    assert np.array_equal(counts.selected, selected)
    assert np.allclose(counts.share, share, rtol=1e-3, atol=1e-5)
    assert np.allclose(counts.drift, drift, atol=1e-3)
    assert np.allclose(counts.pull, pull, rtol=1e-3, atol=1e-5)
    assert np.allclose(counts.d, d_sum, rtol=1e-4)
    assert np.allclose(counts.share.sum(1), counts.d, rtol=1e-6)


def test_contexts_are_the_strongest_and_a_sample_of_the_active(run, truth):
    places, _, _ = truth
    for i in range(0, M, 5):
        value = {p[:3]: max(p[3][i], p[4][i]).item() for p in places}
        active = {k: v for k, v in value.items() if v > 0}
        best = sorted(active.values(), reverse=True)[:TOP]
        kept = run.counts.top_place[i][run.counts.top_value[i] > 0]
        assert np.allclose([value[tuple(k)] for k in kept], best, atol=1e-4)
        sample = [tuple(k) for k in run.counts.sample_place[i] if k[0] >= 0]
        assert len(set(sample)) == len(sample) == min(50, len(active))
        assert set(sample) <= set(active)


def test_tokens_and_pooled_features_come_back(run, truth):
    places, pooled, _ = truth
    for r in range(len(ROWS)):
        for s, side in enumerate(("chosen", "rejected")):
            for who, found in enumerate(run.tokens(r, s)):
                expected = torch.stack([p[3 + who] for p in places if p[:2] == (r, s)])
                assert np.allclose(found.toarray(), expected, rtol=1e-3, atol=1e-4)
            got = run.pooled["policy", side][r].toarray()[0]
            assert np.allclose(got, pooled[r, s][0], atol=1e-4)
    with pytest.raises(FeatureError, match="row 9"):
        run.tokens(9, 0)


def same(a, b, exact=True):
    for field in fields(Counts):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert np.array_equal(x, y) if exact else np.allclose(x, y, rtol=1e-6, atol=1e-6), (
            field.name
        )


def test_parts_merge_into_the_whole(run, tmp_path):
    parts = [made(tmp_path / "a", ROWS[:4]), made(tmp_path / "b", ROWS[4:], first_row=4)]
    whole = merge_diffs(parts[::-1], tmp_path / "both")
    same(whole.counts, run.counts, exact=False)
    for key, found in whole.pooled.items():
        assert np.array_equal(found.toarray(), run.pooled[key].toarray())
    assert np.array_equal(whole.tokens(6, 1)[0].toarray(), run.tokens(6, 1)[0].toarray())
    with pytest.raises(FeatureError, match="begins at row 4, not 3"):
        merge_diffs([made(tmp_path / "c", ROWS[:3]), parts[1]], tmp_path / "d")
    with pytest.raises(FeatureError, match=r"differs from .* in k"):
        merge_diffs([parts[0], made(tmp_path / "e", ROWS[4:], first_row=4, k=3)], tmp_path / "f")


def test_a_killed_pass_goes_on_bit_for_bit(run, tmp_path, monkeypatch):
    original, calls = diff._batch, []

    def failing(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(diff, "_batch", failing)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "x")
    with pytest.raises(FeatureError, match="4 of 9 pairs"):
        FeatureDiff.load(tmp_path / "x")
    monkeypatch.setattr(diff, "_batch", original)
    same(made(tmp_path / "x").counts, run.counts)


@pytest.mark.parametrize("what", ["policy", "ref", "sae", "data", "hook", "seed", "first_row"])
def test_a_folder_of_another_diff_is_refused(run, what):
    """Whatever the counts depend on, by its name; the folder stays as it is."""
    other = {"policy": REFERENCE, "ref": POLICY, "hook": "blocks.0.hook_resid_post",
             "sae": toy_sae("jumprelu", seed=9), "data": [*ROWS[:8], ROWS[0]],
             "seed": 1, "first_row": 3}  # fmt: skip
    given = {"policy": POLICY, "ref": REFERENCE, "data": ROWS, "sae": SAE, "hook": HOOK}
    constraint = Constraint(k=K, alpha=ALPHA, beta=BETA)
    given |= {"out": run.folder, "constraint": constraint, what: other[what]}
    models = [given.pop(name) for name in ("policy", "ref", "data", "sae", "hook", "out")]
    with pytest.raises(FeatureError, match=rf"another diff: {what} \("):
        diff_features(*models, batch=2, shard=4, **given)


def frequencies(policy, sae):
    policy.model.rotary_emb.inv_freq *= 5


def setting(policy, sae):
    sae.cfg.apply_b_dec_to_input = not sae.cfg.apply_b_dec_to_input


def activation(policy, sae):
    sae.activation_fn.k = 1


@pytest.mark.parametrize(
    ("edit", "what"), [(frequencies, "policy"), (setting, "sae"), (activation, "sae")]
)
def test_edits_that_no_checkpoint_holds_make_another_diff(run, monkeypatch, edit, what):
    policy, sae = copy.deepcopy(POLICY), copy.deepcopy(SAE)
    edit(policy, sae)
    monkeypatch.setitem(globals(), "POLICY", policy)
    monkeypatch.setitem(globals(), "SAE", sae)
    with pytest.raises(FeatureError, match=rf"another diff: {what} \("):
        made(run.folder)


def test_other_settings_and_damage_are_named(tmp_path):
    made(tmp_path / "x")
    with pytest.raises(FeatureError, match=r"another diff: k \(5, now 4\)"):
        made(tmp_path / "x", k=4)
    path = tmp_path / "x" / "rows-00000004.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FeatureError, match=r"rows-00000004\.npz cannot be read"):
        _ = FeatureDiff.load(tmp_path / "x").pooled
    with pytest.raises(FeatureError, match=r"run\.json"):
        FeatureDiff.load(tmp_path)
