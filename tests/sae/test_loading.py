"""SAEs from every source, and what is refused."""

import logging

import numpy as np
import pytest
import torch

from tests.helpers.fpo_toys import llama, toy_sae
from workbench.errors import FeatureError
from workbench.sae.loading import check_sae, encode, load_sae, sae_hook


def test_an_sae_must_fit_the_model(caplog):
    with pytest.raises(FeatureError, match=r"vectors of 16, .* has 32"):
        check_sae(toy_sae(d=16), llama(), "blocks.1.hook_resid_post")
    sae, model = toy_sae(), llama()
    sae.cfg.metadata.model_name, model.config._name_or_path = "gemma-2-2b", "org/other"
    with caplog.at_level(logging.WARNING):
        check_sae(sae, model, "blocks.1.hook_resid_post")
    assert "gemma-2-2b" in caplog.text
    sae.cfg.metadata.hook_name = None
    with pytest.raises(FeatureError, match="give its hook"):
        sae_hook(sae)


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_saved_saes_encode_as_before(tmp_path, kind):
    sae = toy_sae(kind)
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
