"""Settings of SAEs: which are honoured, which are refused by name, and which are only named."""

import json
import logging

import pytest
import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.registry import SAE_CLASS_REGISTRY

from tests.helpers.feature_toys import HOOK, REFERENCE, ROWS
from tests.helpers.fpo_toys import D, M, toy_sae
from workbench.errors import FeatureError
from workbench.sae.diff import diff_features
from workbench.sae.health import health, stream_shift
from workbench.sae.lens import lens
from workbench.sae.loading import check_sae, encode, features_of, load_sae
from workbench.sae.settings import ARCHITECTURES

KWARGS = "model_from_pretrained_kwargs"


def saved(folder, change, kind="topk"):
    toy_sae(kind).save_model(folder)
    path = folder / "cfg.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return folder


def in_metadata(**more):
    return lambda config: config["metadata"].update(more)


def at_the_top(**more):
    return lambda config: config.update(more)


def without(*names):
    return lambda config: [config.pop(name) for name in names]


def as_before_6(**more):
    """Flat, as SAELens 5 wrote it."""

    def change(config):
        metadata = config.pop("metadata")
        config.update(hook_name=metadata["hook_name"], sae_lens_version="5.10.0", **more)

    return change


def of_before_6(*missing, **more):
    return lambda config: (as_before_6(**more)(config), without(*missing)(config))


REFUSED = {
    "no k": (without("k"), "k missing"),
    "no k before 6": (of_before_6("k", activation_fn="topk"), "k missing"),
    "no width": (without("d_in"), "d_in missing"),
    "no word on b_dec": (without("apply_b_dec_to_input"), "apply_b_dec_to_input missing"),
    "no normalisation": (without("normalize_activations"), "normalize_activations missing"),
    "no version": (lambda c: c["metadata"].pop("sae_lens_version"), "sae_lens_version"),
    "batch top-k": (at_the_top(architecture="batchtopk"), "architecture 'batchtopk'"),
    "matryoshka": (at_the_top(architecture="matryoshka_batchtopk"), "architecture 'matryoshka"),
    "a transcoder": (at_the_top(architecture="transcoder"), "architecture 'transcoder'"),
    "over time": (at_the_top(architecture="temporal"), "architecture 'temporal'"),
    "signed": (at_the_top(architecture="abstopk"), "architecture 'abstopk'"),
    "another's": (at_the_top(d_out=32), "d_out: no setting of an SAE 'topk'"),
    "pursuit": (at_the_top(max_iterations=3), "max_iterations: no setting"),
    "tanh": (at_the_top(activation_fn="tanh-relu"), "activation_fn 'tanh-relu'"),
    "tanh before 6": (as_before_6(activation_fn_str="tanh-relu"), "activation_fn 'tanh-relu'"),
    "scaled": (at_the_top(finetuning_scaling_factor=True), "finetuning_scaling_factor"),
    "arguments": (at_the_top(activation_fn_kwargs=[5]), "activation_fn_kwargs is"),
    "one head": (in_metadata(hook_head_index=2), "hook_head_index 2"),
    "one head before 6": (as_before_6(hook_point_head_index=0), "hook_head_index 0"),
    "elsewhere": (in_metadata(hook_name_out="blocks.1.hook_mlp_out"), "hook_name_out"),
    "some positions": (in_metadata(seqpos_slice=[1, None]), r"seqpos_slice \[1, None\]"),
    "no positions": (in_metadata(seqpos_slice=[0]), r"seqpos_slice \[0\]"),
    "positions of text": (in_metadata(seqpos_slice="all"), "seqpos_slice 'all'"),
    "Mamba": (in_metadata(model_class_name="HookedMamba"), "model_class_name 'HookedMamba'"),
    "BOS of text": (in_metadata(prepend_bos="false"), "prepend_bos is 'false', expected bool"),
    "centred of text": (in_metadata(**{KWARGS: {"center_writing_weights": "true"}}), "'true'"),
    "centred of 1": (in_metadata(center_writing_weights=1), "center_writing_weights is 1"),
    "centred and not": (
        in_metadata(**{KWARGS: {"center_writing_weights": False}}, center_writing_weights=True),
        "both true and false",
    ),
    "a list for a model": (in_metadata(**{KWARGS: [1]}), f"{KWARGS} is .*expected dict"),
    "unknown": (in_metadata(**{KWARGS: {"rotate": True}}), f"{KWARGS} has rotate"),
    "another k as argument": (at_the_top(activation_fn_kwargs={"k": 2}), "k is 2 in activation_fn"),
    "another k before 6": (
        as_before_6(activation_fn="topk", activation_fn_kwargs={"k": 2}), "k is 2 in activation_fn",
    ),
    "another k in metadata": (in_metadata(k=2), "k is 2 in metadata, and 6 beside it"),
    "normalised in metadata": (in_metadata(normalize_activations="layer_norm"), "normalize_activ"),
    "heads apart in metadata": (in_metadata(reshape_activations="hook_z"), "reshape_activations"),
    "b_dec in metadata": (in_metadata(apply_b_dec_to_input=False), "apply_b_dec_to_input is False"),
    "architecture in metadata": (in_metadata(architecture="gated"), "architecture is 'gated'"),
    "tanh in metadata": (in_metadata(activation_fn="tanh-relu"), "activation_fn 'tanh-relu'"),
    "two hooks": (at_the_top(hook_name="blocks.0.hook_resid_pre"), "hook_name is 'blocks.1.hook"),
    "one head beside metadata": (at_the_top(hook_head_index=3), "hook_head_index 3"),
    "some positions beside metadata": (at_the_top(seqpos_slice=[1, 5]), r"seqpos_slice \[1, 5\]"),
    "Mamba beside metadata": (at_the_top(model_class_name="HookedMamba"), "model_class_name"),
    "elsewhere beside metadata": (at_the_top(hook_name_out="blocks.1.hook_mlp_out"), "hook_name_o"),
    "out of place beside metadata": (at_the_top(fold_value_biases=True), "fold_value_biases belon"),
    "unknown beside metadata": (at_the_top(**{KWARGS: {"rotate": True}}), f"{KWARGS} has rotate"),
    "metadata before 6": (in_metadata(sae_lens_version="5.10.0"), "'5.10.0', which SAELens ign"),
    "out of place": (in_metadata(fold_value_biases=True), "fold_value_biases belongs into"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_honoured_is_refused_by_name(tmp_path, change, message):
    with pytest.raises(FeatureError, match=message) as error:
        load_sae(saved(tmp_path, change))
    assert str(tmp_path) in str(error.value)


HONOURED = {
    "as it is": ("topk", lambda config: None),
    "before 6": ("standard", as_before_6(activation_fn="relu", lr=4e-4, l1_coefficient=5)),
    "jumprelu before 6": ("jumprelu", as_before_6(architecture="jumprelu", prepend_bos=True)),
    "top-k before 6": (
        "topk",
        of_before_6("k", "architecture", activation_fn_str="topk", activation_fn_kwargs={"k": 6}),
    ),
    "all positions": ("topk", in_metadata(seqpos_slice=[None], hook_head_index=None)),
    "all positions from 0": ("topk", in_metadata(seqpos_slice=[0, None])),
    "no change of what is read": (
        "standard",
        in_metadata(**{KWARGS: {"fold_ln": True, "center_unembed": True, "dtype": "bfloat16"}}),
    ),
    "folded": ("standard", at_the_top(finetuning_scaling_factor=False, device="cuda:3")),
    "twice the same": ("topk", at_the_top(hook_name="blocks.1.hook_resid_post", hook_layer=1)),
    "metadata that repeats": ("topk", in_metadata(k=6, d_in=32, architecture="topk")),
    "precision": ("standard", at_the_top(dtype="torch.float64")),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), HONOURED.values(), ids=HONOURED)
def test_what_says_the_same_computes_the_same(tmp_path, kind, change):
    sae, h = load_sae(saved(tmp_path, change, kind)), torch.randn(9, D)
    assert torch.equal(encode(sae, h), toy_sae(kind).encode(h))


def test_b_dec_is_taken_off_where_the_settings_say_so(tmp_path):
    h, plain = torch.randn(9, D), toy_sae("standard")
    sae = load_sae(saved(tmp_path, at_the_top(apply_b_dec_to_input=False), "standard"))
    assert torch.allclose(encode(sae, h), (h @ plain.W_enc + plain.b_enc).relu(), atol=1e-5)


def test_a_gated_sae_is_read(tmp_path):
    torch.manual_seed(0)
    plain = GatedSAE(GatedSAEConfig(d_in=D, d_sae=M))
    plain.save_model(tmp_path)
    h = torch.randn(9, D)
    assert torch.equal(encode(load_sae(tmp_path), h), plain.encode(h))


def test_unknown_settings_are_named(tmp_path, caplog):
    def change(config):
        config["temperature"] = 2
        config["metadata"]["mood"] = "good"

    with caplog.at_level(logging.WARNING):
        load_sae(saved(tmp_path, change))
    assert "change nothing here: mood, temperature" in caplog.text
    caplog.clear()
    load_sae(saved(tmp_path, lambda config: None))
    assert not caplog.text


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig(d_in=D, d_sae=M, k=5)),
        (TopKTrainingSAE, TopKTrainingSAEConfig(d_in=D, d_sae=M, k=5)),
    ],
)
def test_saes_in_training_are_refused(kind, settings):
    with pytest.raises(FeatureError, match=f"a {kind.__name__}; supported are"):
        load_sae(kind(settings))


@pytest.mark.parametrize("name", sorted(set(SAE_CLASS_REGISTRY) - set(ARCHITECTURES)))
def test_architectures_that_are_not_supported_are_refused_as_objects(name):
    kind, settings = SAE_CLASS_REGISTRY[name]
    more = {"apply_b_dec_to_input": False} if "transcoder" in name else {}
    more |= {"k": 5} if name == "abstopk" else {}
    sizes = (256, 256) if name == "temporal" else (D, M)
    more |= {"n_heads": 4} if name == "temporal" else {}
    with pytest.raises(FeatureError, match="supported are"):
        load_sae(kind(settings(d_in=sizes[0], d_sae=sizes[1], **more)))


def test_a_model_whose_heads_were_changed_is_refused():
    for name in ("fold_value_biases", "refactor_factored_attn_matrices"):
        sae = toy_sae()
        sae.cfg.metadata[KWARGS] = {name: True}
        check_sae(sae, REFERENCE, HOOK)
        with pytest.raises(FeatureError, match=f"{name}, after which blocks.1.attn.hook_z"):
            check_sae(sae, REFERENCE, "blocks.1.attn.hook_z")


def test_what_it_was_trained_on_is_said(caplog):
    sae = toy_sae()
    sae.cfg.metadata.exclude_special_tokens = True
    sae.cfg.metadata[KWARGS] = {"checkpoint_value": 1000}
    with caplog.at_level(logging.WARNING):
        check_sae(sae, REFERENCE, "blocks.0.hook_resid_post")
    for said in ("without special tokens", "checkpoint_value=1000", "trained at blocks.1.hook_re"):
        assert said in caplog.text


@pytest.mark.parametrize(("asked", "ids", "said"), [
    (True, [4, 5], "behind"), (False, [1, 4, 5], "without"), (True, [1, 4], ""), (None, [4], ""),
])  # fmt: skip
def test_texts_that_begin_otherwise_are_said(caplog, asked, ids, said):
    sae = toy_sae().requires_grad_(False)
    sae.cfg.metadata.prepend_bos = asked
    with caplog.at_level(logging.WARNING):
        features_of(REFERENCE, sae, HOOK, ids)
    assert (f"texts {said} a BOS token" in caplog.text) == bool(said)


DOORS = {
    "features_of": lambda sae, hook, out: features_of(REFERENCE, sae, hook, [3, 4]),
    "diff": lambda sae, hook, out: diff_features(REFERENCE, REFERENCE, ROWS, sae, hook, out),
    "health": lambda sae, hook, out: health(REFERENCE, ROWS, sae, hook),
    "shift": lambda sae, hook, out: stream_shift(REFERENCE, REFERENCE, ROWS, sae, hook),
    "lens": lambda sae, hook, out: lens(REFERENCE, sae, hook, None),
    "check": lambda sae, hook, out: check_sae(sae, REFERENCE, hook),
}
UNFIT = {
    "width": (lambda sae: toy_sae(d=16), HOOK, "vectors of 16"),
    "layer": (lambda sae: sae, "blocks.9.hook_resid_post", "the model has 3 layers"),
    "hook": (lambda sae: sae, "model.layers.1", "not supported; use blocks.L"),
    "no hook": (lambda sae: sae, None, "not supported; use blocks.L"),
    "normalised": (
        lambda sae: setattr(sae.cfg, "normalize_activations", "layer_norm") or sae, HOOK,
        "normalised by 'layer_norm'",
    ),
    "one head": (
        lambda sae: setattr(sae.cfg.metadata, "hook_head_index", 1) or sae, HOOK, "hook_head_index",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "hook", "message"), UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_every_door_refuses_before_any_forward(tmp_path, monkeypatch, door, change, hook, message):
    monkeypatch.setattr(REFERENCE, "forward", pytest.fail)
    with pytest.raises(FeatureError, match=message):
        door(change(toy_sae().requires_grad_(False)), hook, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("door", ["diff", "health", "shift"])
def test_weights_that_are_not_finite_are_named_before_any_forward(tmp_path, monkeypatch, door):
    monkeypatch.setattr(REFERENCE, "forward", pytest.fail)
    sae = toy_sae().requires_grad_(False)
    sae.W_dec[3, 2] = torch.nan
    with pytest.raises(FeatureError, match="W_dec holds"):
        DOORS[door](sae, HOOK, tmp_path / "out")


HOSTILE = {
    "complex": ("b_dec", lambda w: w * 1j),
    "whole numbers": ("b_dec", lambda w: w.long()),
    "one axis": ("W_enc", lambda w: w.flatten()),
    "turned": ("W_enc", lambda w: w.T.contiguous()),
    "one for all": ("b_enc", lambda w: w[:1].clone()),
    "one coordinate": ("b_dec", lambda w: w[:1].clone()),
    "one row for all": ("W_dec", lambda w: w[:1].clone()),
}


@pytest.mark.parametrize(("name", "change"), HOSTILE.values(), ids=HOSTILE)
def test_objects_with_other_weights_are_refused(name, change):
    sae = toy_sae()
    weights = change(getattr(sae, name).data)
    setattr(sae, name, torch.nn.Parameter(weights, requires_grad=False))
    with pytest.raises(FeatureError, match=f"the SAE: {name} is torch"):
        load_sae(sae)


@pytest.mark.parametrize("ids", [[], [-1], [10**6], [1.5], "text", [True], None])
def test_texts_that_are_none_are_refused(ids):
    with pytest.raises(FeatureError, match="ids"):
        features_of(REFERENCE, toy_sae(), HOOK, ids)
