"""Fold = hook = the formula; restored bit for bit; every mode against a slow forward by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.helpers.directions import IDS, by_hand, some_lock, some_residual
from tests.helpers.families import CHATS, build
from workbench.errors import FoldError
from workbench.models.prompts import encode

NO_RESIDUAL_FOLD = ("mixtral", "gemma2", "gemma3", "olmo2")


def hooks_left(model):
    return [m for m in model.hf.modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("how", ["fold", "hook"])
@torch.no_grad()
def test_heads_both_ways_are_the_formula(family_model, how):
    model, lock = family_model, some_lock(family_model)
    before = model.hf(IDS).logits
    expected = by_hand(model, [(lock, 4.0)])
    with wb.steer(model, lock, 4.0, how=how):
        got = model.hf(IDS).logits
    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.hf(IDS).logits, before)


@torch.no_grad()
def test_residual_fold_is_the_formula_or_refused_with_the_reason(family_model, request):
    model, direction = family_model, some_residual(family_model)
    before = model.hf(IDS).logits
    expected = by_hand(model, [(direction, 1.5)])
    assert (expected - before).abs().max() > 0.01
    with wb.steer(model, direction, 1.5, how="hook"):
        torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    family = request.node.callspec.params["family_model"]
    if family in NO_RESIDUAL_FOLD:
        reason = "MixtralSparseMoeBlock|RMSNorm has no bias"
        with pytest.raises(FoldError, match=reason):
            wb.fold(model, direction, 1.5)
    else:
        with wb.steer(model, direction, 1.5, how="fold"):
            torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    with wb.steer(model, direction, 1.5):
        torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.hf(IDS).logits, before)


@torch.no_grad()
def test_several_directions_add_up(tokenizer):
    model = build("llama", tokenizer)
    pairs = [(some_lock(model, 0), 3.0), (some_lock(model, 1), 1.0), (some_residual(model), 2.0)]
    directions, alphas = map(list, zip(*pairs, strict=True))
    expected = by_hand(model, pairs)
    for how in ("fold", "hook"):
        with wb.steer(model, directions, alphas, how=how):
            torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    same = by_hand(model, [(d, 2.0) for d in directions])
    with wb.steer(model, directions, 2.0):
        torch.testing.assert_close(model.hf(IDS).logits, same, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="2 alphas for 3 directions"):
        wb.fold(model, directions, [1.0, 2.0])


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
@torch.no_grad()
def test_alphas_of_several_directions_are_one_for_each_direction(tokenizer, kind):
    """Two prompts, so that an alpha for each prompt would fit as well."""
    model = build("llama", tokenizer)
    directions, ids = [some_lock(model, 0), some_lock(model, 1)], IDS.repeat(2, 1)
    expected = by_hand(model, list(zip(directions, [9.0, 1.5], strict=True)), ids)
    for how in ("fold", "hook"):
        with wb.steer(model, directions, kind([9.0, 1.5]), how=how):
            torch.testing.assert_close(model.hf(ids).logits, expected, atol=1e-4, rtol=1e-4)
    same = by_hand(model, [(d, 2.0) for d in directions], ids)
    with wb.steer(model, directions, torch.tensor(2.0)):
        torch.testing.assert_close(model.hf(ids).logits, same, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="3 alphas for 2 directions"):
        wb.fold(model, directions, kind([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("mode", ["all", "generated", "last"])
@torch.no_grad()
def test_modes_against_a_decode_without_cache(family_model, mode):
    """Each step recomputed from nothing, the shift written at the columns the mode names."""
    model = family_model
    pairs = [(some_lock(model, k=12), 4.0), (some_residual(model), 1.0)]
    start = {"all": 0, "generated": IDS.shape[1], "last": IDS.shape[1] - 1}[mode]
    ids = IDS
    for _ in range(5):
        logits = by_hand(model, pairs, ids, slice(start, None))
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    directions, alphas = map(list, zip(*pairs, strict=True))
    with wb.steer(model, directions, alphas, mode=mode, how="hook"):
        out = model.hf.generate(
            IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=5, min_new_tokens=5,
            do_sample=False, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
    torch.testing.assert_close(out.logits[-1], logits[:, -1], atol=1e-3, rtol=1e-3)
    assert torch.equal(out.sequences, ids)
    assert not hooks_left(model)


@pytest.mark.parametrize("mode", ["generated", "last"])
def test_the_mode_counts_from_each_rows_own_prompt(tiny, mode):
    """Ragged prompts in one padded batch, and captured replies, equal one prompt at a time."""
    lock = some_lock(tiny, k=16, scale=4.0)
    prompts = [chat[:1] for chat in CHATS] + ["Hello.", "Mend the gate with the hammer now."]
    with wb.steer(tiny, lock, 1.0, mode=mode):
        together = wb.generate(tiny, prompts, max_new_tokens=12)
        alone = [wb.generate(tiny, [p], max_new_tokens=12)[0] for p in prompts]
        acts = wb.capture(tiny, CHATS, "resid", wb.response(), token_budget=4000)
    assert together == alone
    everywhere = wb.generate(tiny, prompts, max_new_tokens=12)
    with wb.steer(tiny, lock, 1.0):
        assert everywhere != together != wb.generate(tiny, prompts, max_new_tokens=12)
    for values, n, chat in zip(acts.values, acts.lengths, CHATS, strict=True):
        encoded = encode(tiny, chat)
        start = encoded.start - (mode == "last")
        states = []
        hook = tiny.layer(3).register_forward_hook(lambda _, __, o, s=states: s.append(o))
        by_hand(tiny, [(lock, 1.0)], torch.tensor([encoded.ids]), slice(start, None))
        hook.remove()
        torch.testing.assert_close(
            values[-n:, 3], states[0][0, encoded.start :], atol=1e-4, rtol=1e-4
        )


@settings(max_examples=10, deadline=None)
@given(
    alphas=st.lists(st.floats(0, 2), min_size=1, max_size=6),
    mode=st.sampled_from(["all", "generated", "last"]),
    residual=st.booleans(),
)
def test_per_row_alphas_equal_one_run_each(tiny, alphas, mode, residual):
    direction = some_residual(tiny, scale=1.0) if residual else some_lock(tiny, k=16, scale=1.0)
    prompts = [CHATS[i % 9][:1] if i % 2 else "Mend it." for i in range(len(alphas))]
    with wb.steer(tiny, direction, alphas, mode=mode):
        together = wb.generate(tiny, prompts, max_new_tokens=8)
        acts = wb.capture(tiny, prompts, "resid", wb.last(2), token_budget=30)
    for i, (prompt, alpha) in enumerate(zip(prompts, alphas, strict=True)):
        with wb.steer(tiny, direction, alpha, mode=mode, how="hook"):
            assert wb.generate(tiny, [prompt], max_new_tokens=8)[0] == together[i]
            one = wb.capture(tiny, [prompt], "resid", wb.last(2))
        torch.testing.assert_close(one.values[0], acts.values[i], atol=1e-4, rtol=1e-4)


def test_per_row_alphas_and_their_misuse(tiny):
    lock = some_lock(tiny)
    with wb.steer(tiny, [lock, lock], [[0.0, 1.0], 0.5]):
        both = wb.generate(tiny, ["Mend it."] * 2, max_new_tokens=8)
    for i, total in enumerate((0.5, 1.5)):
        with wb.steer(tiny, lock, total):
            assert wb.generate(tiny, ["Mend it."], max_new_tokens=8)[0] == both[i]
    with wb.steer(tiny, lock, [0.0, 1.0]):
        with pytest.raises(ValueError, match="2 alphas, one for each, but 3 prompts"):
            wb.generate(tiny, ["Mend it."] * 3, max_new_tokens=2)
        with pytest.raises(ValueError, match="2 alphas, one for each, but 1 rows in the batch"):
            tiny.hf(IDS)
    with pytest.raises(FoldError, match="per-row alphas need"):
        wb.fold(tiny, lock, torch.tensor([1.0, 2.0]))
    with (
        pytest.raises(FoldError, match="mode='last' needs how='hook'"),
        wb.steer(tiny, lock, 1.0, mode="last", how="fold"),
    ):
        pass
    for wrong in ({"mode": "prompt"}, {"how": "magic"}):
        with (
            pytest.raises(ValueError, match=r"modes are all|use 'auto'"),
            wb.steer(tiny, lock, 1.0, **wrong),
        ):
            pass


@pytest.mark.parametrize("mode", ["generated", "last"])
def test_modes_do_not_depend_on_the_cache(tokenizer, mode):
    model = build("llama", tokenizer)
    lock = some_lock(model, k=18, scale=4.0)
    chats = [CHATS[0], CHATS[1][:1]]  # the first ends in a reply, which counts as generated
    with wb.steer(model, lock, 1.0, mode=mode):
        cached = wb.generate(model, chats, max_new_tokens=6)
        model.hf.generation_config.use_cache = False
        assert wb.generate(model, chats, max_new_tokens=6) == cached
    assert wb.generate(model, chats, max_new_tokens=6) != cached


def test_same_text_with_padding_and_cache(tiny):
    lock = some_lock(tiny, k=12, scale=1.0)
    prompts = [chat[:1] for chat in CHATS]
    plain = wb.generate(tiny, prompts, max_new_tokens=24)
    with wb.steer(tiny, lock, 1.0):
        folded = wb.generate(tiny, prompts, max_new_tokens=24)
    with wb.steer(tiny, lock, 1.0, how="hook"):
        hooked = wb.generate(tiny, prompts, max_new_tokens=24)
    assert folded == hooked != plain


@pytest.mark.parametrize("mode", ["all", "last"])
@pytest.mark.parametrize("how", ["auto", "hook"])
def test_restored_after_an_exception(family_model, how, mode):
    lock, before = some_lock(family_model), family_model.fingerprint()
    both = [lock, some_residual(family_model)]
    with pytest.raises(RuntimeError), wb.steer(family_model, both, 2.0, how=how, mode=mode):
        raise RuntimeError
    assert family_model.fingerprint() == before
    assert not hooks_left(family_model)
    assert not family_model.hooked
    assert not family_model.not_for_export


@pytest.mark.parametrize("how", ["fold", "hook"])
def test_fingerprint_follows_the_steering(tiny, how):
    lock = some_lock(tiny)
    seen = {tiny.fingerprint()}
    for alpha in (0.5, 0.6):
        with wb.steer(tiny, lock, alpha, how=how):
            seen.add(tiny.fingerprint())
    assert len(seen) == 3


def test_fingerprints_under_hooks_hold_direction_alpha_and_mode(tiny):
    """Samples are kept under them; alphas differ where float32 tells them apart."""
    locks = [some_lock(tiny), some_lock(tiny, 1), some_lock(tiny, scale=0.8), some_residual(tiny)]
    ways = [(lock, 0.5, "all") for lock in locks]
    ways += [(locks[0], alpha, "all") for alpha in (0.5 + 2**-24, 0.6, [0.5, 0.6], [0.6, 0.5])]
    ways += [(locks[0], 0.5, mode) for mode in ("generated", "last")]
    ways += [(locks[:2], alphas, "all") for alphas in (0.5, [0.5, 0.6], [0.6, 0.5])]
    seen = {tiny.fingerprint()}
    for direction, alpha, mode in ways:
        with wb.steer(tiny, direction, alpha, mode=mode, how="hook"):
            seen.add(tiny.fingerprint())
    assert len(seen) == 1 + len(ways)


@pytest.mark.parametrize("site", ["heads", "resid", "mlp"])
def test_captures_do_not_depend_on_how_the_shift_is_applied(family_model, site):
    model = family_model
    both = [some_lock(model), some_residual(model)]
    got = {}
    for how in ("auto", "hook"):
        with wb.steer(model, both, 1.5, how=how):
            got[how] = wb.capture(model, CHATS[:2], site).values
    if (model.hf.config.model_type, site) == ("opt", "mlp"):
        pytest.skip("OPT's MLP ends in the very module that is hooked")
    torch.testing.assert_close(got["auto"], got["hook"], atol=1e-4, rtol=1e-4)
    plain = wb.capture(model, CHATS[:2], site).values
    assert (got["hook"] - plain).abs().max() > 0.01
