"""SAEs of models whose writing weights were centred, against models whose weights really are."""

import json

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from tests.helpers.families import build
from tests.helpers.feature_toys import HOOK, REFERENCE, ROWS
from tests.helpers.fpo_toys import tokenizer, toy_sae
from workbench.errors import FeatureError
from workbench.models.hooks import find_hook, reading
from workbench.papers.fpo.distance import feature_distance
from workbench.sae.diff import diff_features
from workbench.sae.health import health, stream_shift
from workbench.sae.loading import encode, features_of, load_sae, sae_digest
from workbench.sae.pooling import Constraint, pool, stack_pairs

WIDTH = 48
FAMILIES = ("gpt2", "gpt_neox", "gpt_neox_sequential", "opt", "falcon_grouped", "falcon_alibi")
KWARGS = "model_from_pretrained_kwargs"
CENTRED = {KWARGS: {"center_writing_weights": True}}


@torch.no_grad()
def with_centred_weights(family, seed=0):
    """A model all of whose weights that write into the residual stream have mean 0 over it."""
    model = build(family, tokenizer(), seed)
    hf, anatomy = model.hf, model.anatomy
    writers = [m for m in hf.modules() if isinstance(m, torch.nn.Embedding)]
    for layer in hf.get_submodule(anatomy.layers):
        writers += [layer.get_submodule(f"{anatomy.attn}.{anatomy.o_proj}"),
                    layer.get_submodule(anatomy.resid)]  # fmt: skip
    # The head reads what it read before, tied to the embedding or not.
    head = hf.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.clone())
    for module in writers:
        over = 0 if isinstance(module, torch.nn.Linear) else 1
        module.weight -= module.weight.mean(over, keepdim=True)
        if getattr(module, "bias", None) is not None:
            module.bias -= module.bias.mean()
    assert not isinstance(writers[-1], Conv1D) or family == "gpt2"
    return hf


@torch.no_grad()
def read(hf, hook, ids):
    with reading(find_hook(hf, hook)) as slot:
        logits = hf(input_ids=torch.tensor([ids])).logits[0]
    return slot.value[0], logits


def centred_sae(hook, kind="jumprelu", **metadata):
    sae = toy_sae(kind, d=WIDTH).requires_grad_(False)
    sae.cfg.metadata.hook_name = hook
    for name, value in (metadata or CENTRED).items():
        sae.cfg.metadata[name] = value
    return sae


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("site", ["hook_resid_pre", "hook_resid_post", "hook_mlp_out"])
def test_features_are_those_of_the_model_with_centred_weights(family, site):
    plain, other = build(family, tokenizer()).hf, with_centred_weights(family)
    ids, hook = list(range(3, 20)), f"blocks.1.{site}"
    h, logits = read(other, hook, ids)
    as_it_is, plain_logits = read(plain, hook, ids)
    assert torch.allclose(logits, plain_logits, atol=1e-3 * float(logits.abs().max()))
    sae = centred_sae(hook)
    expected, found = sae.encode(h), features_of(plain, sae, hook, ids)
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.max()))
    assert int((found > 0).sum()) == int((expected > 0).sum())
    assert not torch.allclose(sae.encode(as_it_is), expected, atol=0.01 * float(expected.max()))


def test_z_is_read_before_the_weights_that_write():
    hook, ids = "blocks.1.attn.hook_z", list(range(3, 20))
    plain, other = build("gpt2", tokenizer()).hf, with_centred_weights("gpt2")
    sae = centred_sae(hook)
    found = features_of(plain, sae, hook, ids)
    assert torch.equal(found, sae.encode(read(plain, hook, ids)[0]))
    assert torch.allclose(found, sae.encode(read(other, hook, ids)[0]), atol=1e-3)


SAYING_SO = {
    "of SAELens 6": lambda c: c["metadata"].update(CENTRED),
    "beside": lambda c: c["metadata"].update(center_writing_weights=True),
    "at the top": lambda c: c.update(center_writing_weights=True),
    "of SAELens 6, at the top": lambda c: c.update(CENTRED),
    "of SAELens 5": lambda c: c.update(
        CENTRED, hook_name=c.pop("metadata")["hook_name"], sae_lens_version="5.0.0"
    ),
}


@pytest.mark.parametrize("change", SAYING_SO.values(), ids=SAYING_SO)
@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_wherever_a_file_says_so(tmp_path, change, kind):
    plain = toy_sae(kind, d=WIDTH)
    plain.save_model(tmp_path)
    path, h = tmp_path / "cfg.json", torch.randn(9, WIDTH) + 1
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    sae = load_sae(tmp_path)
    centred = h - h.mean(1, keepdim=True)
    assert torch.allclose(encode(sae, h), plain.encode(centred), atol=1e-5)
    assert not torch.allclose(encode(sae, h), plain.encode(h), atol=1e-2)
    assert sae_digest(sae) != sae_digest(load_sae(plain))


def test_false_is_false():
    sae, h = centred_sae(HOOK, **{KWARGS: {"center_writing_weights": False}}), torch.randn(4, WIDTH)
    assert torch.equal(encode(load_sae(sae), h), sae.encode(h))


def test_every_door_reads_what_the_sae_was_trained_on(tmp_path):
    hook = "blocks.1.hook_resid_post"
    policy, reference = (build("gpt2", tokenizer(), seed).hf for seed in (0, 1))
    centred = [with_centred_weights("gpt2", seed) for seed in (0, 1)]
    sae, plain = centred_sae(hook), centred_sae(hook, prepend_bos=None)
    diff = diff_features(policy, reference, ROWS, sae, hook, tmp_path / "a", batch=3)
    truth = diff_features(*centred, ROWS, plain, hook, tmp_path / "b", batch=3)
    for name in ("active", "selected", "tokens"):
        assert (getattr(diff.counts, name) == getattr(truth.counts, name)).all()
    assert diff.counts.d == pytest.approx(truth.counts.d, rel=1e-3)
    with pytest.raises(FeatureError, match="another diff: sae"):
        diff_features(policy, reference, ROWS, plain, hook, tmp_path / "a")
    found, expected = health(policy, ROWS, sae, hook), health(centred[0], ROWS, plain, hook)
    for name in ("fvu", "l0", "dead", "ce", "ce_spliced", "ce_zeroed"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-3), name
    assert stream_shift(policy, reference, ROWS, sae, hook) == pytest.approx(
        stream_shift(*centred, ROWS, plain, hook), rel=1e-3
    )


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_the_constraint_reads_what_the_sae_was_trained_on(kind):
    sae, plain = centred_sae(HOOK, kind), centred_sae(HOOK, kind, prepend_bos=None)
    _, _, mask = stack_pairs(ROWS[:3], 0, "cpu")
    torch.manual_seed(0)
    h = torch.randn(2, 6, mask.shape[1] + 1, WIDTH) + 1
    found, expected = (
        feature_distance(
            s, x[0].requires_grad_(), mask, pool(s, x[1], mask), Constraint(k=5)
        ).total.sum()
        for s, x in ((sae, h), (plain, h - h.mean(-1, keepdim=True)))
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_a_model_without_layer_norm_has_nothing_to_centre():
    sae = toy_sae()
    sae.cfg.metadata[KWARGS] = CENTRED[KWARGS]
    with pytest.raises(FeatureError, match="without layer norm"):
        features_of(REFERENCE, sae, HOOK, [3, 4])
    with pytest.raises(FeatureError, match="without layer norm"):
        features_of(build("opt_post_norm", tokenizer()).hf, centred_sae(HOOK), HOOK, [3, 4])
