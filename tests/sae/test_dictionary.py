"""SAE features against plain forward passes and arithmetic by hand."""

import logging

import numpy as np
import pytest
import torch

from tests.helpers.fpo_toys import M, dictionary, llama
from workbench.errors import FeatureError
from workbench.sae.dictionary import check_sae, encode, load_sae, sae_hook
from workbench.sae.pooling import distance, index_set, pool, response_mask
from workbench.sae.training import train_topk

IDS = torch.randint(3, 60, (2, 7), generator=torch.Generator().manual_seed(0))


def test_a_dictionary_must_fit_the_model(caplog):
    with pytest.raises(FeatureError, match=r"vectors of 16, .* has 32"):
        check_sae(dictionary(d=16), llama(), "blocks.1.hook_resid_post")
    sae, model = dictionary(), llama()
    sae.cfg.metadata.model_name, model.config._name_or_path = "gemma-2-2b", "org/other"
    with caplog.at_level(logging.WARNING):
        check_sae(sae, model, "blocks.1.hook_resid_post")
    assert "gemma-2-2b" in caplog.text
    sae.cfg.metadata.hook_name = None
    with pytest.raises(FeatureError, match="give its hook"):
        sae_hook(sae)


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_saved_dictionaries_encode_as_before(tmp_path, kind):
    sae = dictionary(kind)
    sae.save_model(tmp_path)
    found, h = load_sae(tmp_path), torch.randn(9, 32)
    assert torch.equal(encode(found, h), sae.encode(h))
    assert not any(p.requires_grad for p in found.parameters())
    assert sae_hook(found) == "blocks.1.hook_resid_post"


def scope(path, **change):
    rng = np.random.default_rng(0)
    arrays = {
        "W_enc": rng.normal(size=(5, 9)).astype(np.float32),
        "b_enc": rng.normal(size=9).astype(np.float32),
        "W_dec": rng.normal(size=(9, 5)).astype(np.float32),
        "b_dec": rng.normal(size=5).astype(np.float32),
        "threshold": rng.random(9).astype(np.float32),
    }
    arrays = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    np.savez(path, **arrays)
    return arrays


def test_gemma_scope_files_are_read_as_published(tmp_path):
    a = scope(tmp_path / "params.npz")
    h = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    z = h @ a["W_enc"] + a["b_enc"]
    expected = np.maximum(z, 0) * (z > a["threshold"])
    found = load_sae(tmp_path / "params.npz")
    assert np.allclose(encode(found, torch.from_numpy(h)).numpy(), expected, atol=1e-5)
    decoded = found.decode(torch.from_numpy(expected)).numpy()
    assert np.allclose(decoded, expected @ a["W_dec"] + a["b_dec"], atol=1e-5)


def test_bad_files_are_named(tmp_path):
    scope(tmp_path / "a.npz", threshold=None)
    with pytest.raises(FeatureError, match=r"a\.npz: needs arrays W_enc"):
        load_sae(tmp_path / "a.npz")
    scope(tmp_path / "b.npz", b_dec=np.zeros(6, np.float32))
    with pytest.raises(FeatureError, match=r"b_dec is \(6,\), expected \(5,\)"):
        load_sae(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", W_enc=np.array([{}], object))
    with pytest.raises(FeatureError, match=r"c\.npz"):
        load_sae(tmp_path / "c.npz")
    for source in (tmp_path, "nothing", tmp_path / "absent.npz"):
        with pytest.raises(FeatureError):
            load_sae(source)


@pytest.mark.parametrize("how", ["mean", "sum", "padded"])
@pytest.mark.parametrize("budget", [1 << 26, 4 * M * 3])
def test_pooling_is_the_dense_loop(how, budget):
    sae = dictionary("jumprelu")
    torch.manual_seed(0)
    hidden, mask = torch.randn(3, 8, 32), torch.rand(3, 7) > 0.5
    found = pool(sae, hidden, mask, how=how, budget=budget)
    for b in range(3):
        total = torch.zeros(M)
        for t in range(7):
            if mask[b, t]:
                total += sae.encode(hidden[b, t]) * sae.W_dec.norm(dim=1)
        n = {"mean": mask[b].sum(), "sum": 1, "padded": 7}[how]
        assert torch.allclose(found[b], total / n, atol=1e-5)


def test_positions_are_those_that_predict_the_response():
    mask = response_mask(torch.tensor([[0, 0, 1, 1, 0]]))
    assert mask.tolist() == [[False, True, True, False]]


def test_index_sets_hold_only_active_features():
    policy = torch.tensor([[5.0, 0, 3, 1, 0]])
    reference = torch.tensor([[0.0, 2, 0, 0, 0]])
    expected = {"policy": [0, 2], "ref": [1], "union": [0, 1, 2]}
    for topk, members in expected.items():
        found = index_set(policy, reference, 2, topk)
        assert found[0].nonzero()[:, 0].tolist() == members
    union = index_set(policy, reference, 2, "union")
    assert distance(policy, reference, union, 2).tolist() == [(25 + 4 + 9) / 2]
    with pytest.raises(ValueError, match="k=6 of 5"):
        index_set(policy, reference, 6, "union")


def test_a_trained_dictionary_finds_planted_directions_on_raw_activations(tmp_path):
    g = torch.Generator().manual_seed(0)
    planted = torch.nn.functional.normalize(torch.randn(24, 16, generator=g), dim=1)
    codes = torch.zeros(6000, 24)
    codes.scatter_(1, torch.rand(6000, 24, generator=g).topk(2, 1).indices, 0.05)
    values = codes @ planted  # small norms, which is what the folded scale is for
    kwargs = {"hook_name": "blocks.0.hook_resid_post", "steps": 400, "batch": 256}
    sae = train_topk(values, 48, 2, **kwargs)
    found = encode(sae, values)
    left = ((sae.decode(found) - values) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
    assert left < 0.2
    assert (found > 0).sum(1).max() <= 2
    cosine = torch.nn.functional.normalize(sae.W_dec, dim=1) @ planted.T
    assert (cosine.max(0).values > 0.9).float().mean() > 0.7
    again = train_topk(values, 48, 2, **kwargs)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in sae.state_dict().items())
    sae.save_model(tmp_path)
    assert torch.equal(encode(load_sae(tmp_path), values), found)


@pytest.mark.parametrize(
    ("values", "k", "message"),
    [
        (torch.full((600, 4), torch.nan), 2, "not finite"),
        (torch.zeros(10, 4), 2, "at least batch"),
        (torch.zeros(600, 4), 9, "k=9 of 8"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(values, k, message):
    with pytest.raises(FeatureError, match=message):
        train_topk(values, 8, k, hook_name="blocks.0.hook_resid_post")
