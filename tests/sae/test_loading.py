"""SAEs from every source, and what is refused."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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


SCOPE = {
    "no threshold": ({"threshold": None}, "needs arrays W_enc"),
    "another width": (
        {"b_dec": np.zeros(6, np.float32)},
        r"b_dec is torch.float32 \(6,\), expected float32 \(5,\)",
    ),
    "one array more": ({"W_skip": np.zeros((5, 5), np.float32)}, "needs arrays .*, has .*W_skip"),
    "objects": ({"W_enc": np.array([{}], object)}, "cannot be read"),
    "one axis": ({"W_enc": np.zeros(5, np.float32)}, "W_enc is .*, expected two axes"),
    "no axis": ({"W_enc": np.float32(1)}, "W_enc is .*, expected two axes"),
    "no feature": ({"W_enc": np.zeros((5, 0), np.float32)}, "W_enc is .*, expected two axes"),
    "three axes": ({"W_dec": np.zeros((9, 5, 1), np.float32)}, "W_dec is .*, expected"),
    "complex": ({"b_enc": np.ones(9, np.complex64)}, "b_enc is complex64"),
    "whole numbers": ({"b_enc": np.ones(9, np.int8)}, "b_enc is int8"),
    "text": ({"b_enc": np.array(["1"] * 9)}, "b_enc is <U1"),
    "NaN": ({"b_enc": np.full(9, np.nan, np.float32)}, "b_enc holds .* not finite"),
    "infinity": ({"threshold": np.full(9, np.inf, np.float32)}, "threshold holds .* not finite"),
    "beyond float32": ({"b_enc": np.full(9, 1e300)}, "b_enc holds .* not finite"),
}


@pytest.mark.parametrize(("change", "message"), SCOPE.values(), ids=SCOPE)
def test_damaged_gemma_scope_files_are_named(tmp_path, change, message):
    scope(tmp_path / "a.npz", **change)
    with pytest.raises(FeatureError, match=rf"a\.npz.* {message}"):
        load_sae(tmp_path / "a.npz")


def test_what_is_no_sae(tmp_path):
    for source in (tmp_path, "nothing", tmp_path / "absent.npz", tmp_path / "sae.pt", 5, None):
        with pytest.raises(FeatureError):
            load_sae(source)


SETTINGS = {
    "a list": "[]",
    "text": '"cfg"',
    "deep": "[" * 10**5,
    "digits": '{"d_in": ' + "9" * 10**5 + "}",
    "NaN": '{"d_in": NaN}',
    "empty": "",
    "no object": "{}",
    "metadata": {"metadata": [1]},
    "metadata absent": {"metadata": None},
    "architecture": {"architecture": "none such"},
    "architecture of a list": {"architecture": ["topk"]},
    "size of text": {"d_in": "32"},
    "size of half": {"d_in": 32.5},
    "size below 0": {"d_sae": -1},
    "another size": {"d_sae": 8},
    "size beyond memory": {"d_sae": 10**15},
    "truth of text": {"apply_b_dec_to_input": "false"},
    "truth of a number": {"rescale_acts_by_decoder_norm": 2},
    "k of text": {"k": "5"},
    "k of truth": {"k": True},
    "k below 1": {"k": 0},
    "k above all": {"k": 10**6},
    "dtype": {"dtype": "os.system"},
    "dtype of a number": {"dtype": 32},
    "normalisation": {"normalize_activations": "layer_norm"},
    "unknown normalisation": {"normalize_activations": "other"},
    "normalisation of a list": {"normalize_activations": []},
    "reshaping": {"reshape_activations": "other"},
    "hook": {"metadata": {"hook_name": 5, "sae_lens_version": "6.0.0"}},
    "version": {"metadata": {"sae_lens_version": "?"}},
}


@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS)
def test_settings_that_are_none_are_named(tmp_path, change):
    toy_sae("topk").save_model(tmp_path)
    path = tmp_path / "cfg.json"
    content = {**json.loads(path.read_text()), **change} if isinstance(change, dict) else change
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FeatureError, match=str(tmp_path)):
        load_sae(tmp_path)


WEIGHTS = {
    "missing": lambda w: w.pop("W_enc"),
    "more": lambda w: w.update(other=torch.zeros(3)),
    "one axis": lambda w: w.update(W_enc=torch.zeros(5)),
    "turned": lambda w: w.update(W_enc=w["W_enc"].T.contiguous()),
    "NaN": lambda w: w["W_dec"][0].fill_(torch.nan),
    "infinity": lambda w: w["b_dec"].fill_(-torch.inf),
    "beyond float32": lambda w: w.update(b_dec=torch.full((32,), 1e300, dtype=torch.float64)),
    "complex": lambda w: w.update(b_dec=w["b_dec"] * 1j),
    "whole numbers": lambda w: w.update(b_dec=w["b_dec"].to(torch.int8)),
    "truths": lambda w: w.update(b_dec=w["b_dec"] > 0),
    "eight bits": lambda w: w.update(b_dec=w["b_dec"].to(torch.float8_e4m3fn)),
    "scaling factor": lambda w: w.update(scaling_factor=torch.full((16,), 2.0)),
}


@pytest.mark.parametrize("change", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_none_are_named(tmp_path, change):
    toy_sae("topk").save_model(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(FeatureError, match=str(tmp_path)):
        load_sae(tmp_path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "sae_weights.pt", "params.npz"])
def test_pickles_are_never_run(tmp_path, name):
    toy_sae().save_model(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    torch.save(Trap(), tmp_path / name)
    with pytest.raises(FeatureError, match=str(tmp_path)):
        load_sae(tmp_path / name if name.endswith("npz") else tmp_path)
