"""Capture against plain forward hooks, one unpadded prompt at a time."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.helpers.families import CHATS, build
from tests.helpers.prompts import longrope
from workbench.models.limits import rope_limit
from workbench.models.prompts import encode


def reference(model, prompt, site):
    """All tokens of one prompt by torch hooks on the plain model: `[token, layer, width]`."""
    got, hooks = [], []
    for i in range(model.n_layers):
        layer = model.layer(i)
        if site == "heads":
            hook = model.o_proj(i).register_forward_pre_hook(lambda _, a: got.append(a[0][0]))
        else:
            module = layer if site == "resid" else layer.get_submodule(model.anatomy.mlp)
            # A copy: Falcon adds the attention's output to the MLP's in place.
            hook = module.register_forward_hook(
                lambda _, __, o: got.append(
                    (o[0] if isinstance(o, tuple) else o).clone().reshape(-1, model.d_model)
                )
            )
        hooks.append(hook)
    with torch.no_grad():
        model.hf(torch.tensor([encode(model, prompt).ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack(got, 1)


@pytest.mark.parametrize("site", ["heads", "resid", "mlp"])
def test_equals_one_by_one_hooks(family_model, site):
    model = family_model
    acts = wb.capture(model, CHATS, site, wb.last(5), token_budget=150)
    for values, chat in zip(acts.values, CHATS, strict=True):
        expected = reference(model, chat, site)[-5:]
        if site == "heads":
            expected = expected.unflatten(-1, (model.n_heads, model.d_head))
        torch.testing.assert_close(values, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("site", ["heads", "resid"])
def test_a_shared_beginning_is_computed_once_and_changes_nothing(family_model, site):
    model = family_model
    system = "Mend the gate with the hammer. Do not look at the bone of Mara. Polish the gate."
    prompts = [f"{system} {w} the gate" + " now" * i for i, w in enumerate(["Mend", "Curse"] * 4)]
    wb.capture(model, prompts, site)  # What is tried at first use is tried here.
    tokens = []
    stack = model.hf.get_submodule(model.anatomy.layers)[0]
    hook = stack.register_forward_pre_hook(
        lambda _, args, kwargs: tokens.append((args or (kwargs["hidden_states"],))[0].shape[1]),
        with_kwargs=True,
    )
    acts = wb.capture(model, prompts, site, wb.last(2))
    hook.remove()
    prefix, rest = tokens[0], max(tokens[1:])
    assert prefix >= len(encode(model, system).ids) - 1
    assert prefix + rest == max(len(encode(model, p).ids) for p in prompts)
    for values, prompt in zip(acts.values, prompts, strict=True):
        expected = reference(model, prompt, site)[-2:].reshape(values.shape)
        torch.testing.assert_close(values, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("family", ["mistral", "gemma3", "gemma2"])
def test_a_shared_beginning_longer_than_the_attention_window(tokenizer, family):
    model = build(family, tokenizer, sliding_window=8)
    prompts = ["Mend the gate with the hammer. " * 4 + w for w in ("Now.", "Look up.", "No.", "Y.")]
    acts = wb.capture(model, prompts, "resid")
    for values, prompt in zip(acts.values, prompts, strict=True):
        expected = reference(model, prompt, "resid")[-1:]
        torch.testing.assert_close(values, expected, atol=2e-5, rtol=2e-5)


def test_frequencies_that_depend_on_length_are_never_mixed(tokenizer):
    """Phi-3's long variants: rows beyond the original context rotate with other factors."""
    model = longrope(tokenizer, 32)
    assert rope_limit(model) == 32
    before = model.fingerprint()
    text = "Mend the gate with the hammer. " * 3
    prompts = [text + "Look at the gate. " * i for i in range(8)]
    lengths = [len(encode(model, p).ids) for p in prompts]
    assert min(lengths) < 32 < sorted(lengths)[-3]
    acts = wb.capture(model, prompts, "resid", token_budget=4000)
    for values, prompt in zip(acts.values, prompts, strict=True):
        expected = reference(model, prompt, "resid")[-1:]
        torch.testing.assert_close(values, expected, atol=2e-5, rtol=2e-5)
    assert model.fingerprint() == before


def test_gradient_checkpointing_switches_caches_off_not_the_beginning(tokenizer):
    model = build("llama", tokenizer)
    prompts = ["Mend the gate with the hammer. " * 4 + w for w in ("Now.", "Look.", "No.", "Yes.")]
    expected = wb.capture(model, prompts, "resid").values
    model.hf.gradient_checkpointing_enable()
    model.hf.train()
    torch.testing.assert_close(
        wb.capture(model, prompts, "resid").values, expected, atol=2e-5, rtol=2e-5
    )


def test_chats_without_a_reply_have_no_response_to_read(llama):
    mixed = wb.capture(llama, [CHATS[0], CHATS[0][:1]], "resid", wb.response(), token_budget=1)
    assert mixed.lengths[1] == 0
    assert mixed.values[1].isnan().all()
    with pytest.raises(ValueError, match="no prompt has a token to read"):
        wb.capture(llama, [CHATS[0][:1]], "resid", wb.response())


def test_tokens_of_the_shared_beginning_can_be_read_too(llama):
    prompts = ["Mend the gate with the hammer. " * 4 + w for w in ("Now.", "Look.", "No.", "Yes.")]
    acts = wb.capture(llama, prompts, "resid", wb.all_tokens())
    for values, n, prompt in zip(acts.values, acts.lengths, prompts, strict=True):
        expected = reference(llama, prompt, "resid")
        torch.testing.assert_close(values[-n:], expected, atol=2e-5, rtol=2e-5)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    budget=st.integers(1, 200),
    k=st.integers(1, 6),
    layers=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
)
def test_batching_never_changes_a_value(llama, lengths, budget, k, layers):
    words = "mend the gate with a good hammer ".split()
    prompts = [" ".join(words[(i + j) % 7] for j in range(n)) for i, n in enumerate(lengths)]
    acts = wb.capture(llama, prompts, "resid", wb.last(k), layers=layers, token_budget=budget)
    for row, prompt, n in zip(acts.values, prompts, acts.lengths, strict=True):
        expected = reference(llama, prompt, "resid")[-k:][:, layers]
        assert n == len(expected)
        torch.testing.assert_close(row[-n:], expected, atol=2e-5, rtol=2e-5)
        assert row[:-n].isnan().all()


@pytest.fixture(scope="module")
def llama(tokenizer):
    return build("llama", tokenizer)


def test_answer_tokens_never_reach_into_the_template(llama, caplog):
    """Traps 1 and 2: the last r answer tokens, no end token; short answers are counted."""
    short = [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Never."},
    ]
    n = len(llama.tokenizer("Never.", add_special_tokens=False)["input_ids"])
    with caplog.at_level(logging.WARNING):
        acts = wb.capture(llama, [short, CHATS[0]], "resid", wb.last(5))
    assert acts.lengths.tolist() == [n, 5]
    assert "1 of 2 texts have fewer than 5 tokens" in caplog.text
    encoded = encode(llama, CHATS[0])
    answer = llama.tokenizer.decode(encoded.ids[encoded.start :])
    assert answer == CHATS[0][1]["content"]
    assert llama.tokenizer.decode(encoded.ids[: encoded.start]).endswith("<assistant>")


def test_response_and_all_positions(llama):
    encoded = encode(llama, CHATS[0])
    everything = wb.capture(llama, CHATS[:1], "mlp", wb.all_tokens())
    reply = wb.capture(llama, CHATS[:1], "mlp", wb.response())
    assert everything.values.shape[1] == len(encoded.ids)
    torch.testing.assert_close(reply.values[0], everything.values[0, encoded.start :])


def test_foreign_hooks_and_outputs_survive(llama):
    """Trap D8.2: only our own handles are ever removed."""
    seen = []
    hook = llama.layer(1).register_forward_hook(lambda *_: seen.append(1))
    ids = torch.tensor([encode(llama, "mend the gate").ids])
    before = llama.hf(ids, output_hidden_states=True).hidden_states
    wb.capture(llama, CHATS[:2], "heads")
    seen.clear()
    after = llama.hf(ids, output_hidden_states=True).hidden_states
    hook.remove()
    assert seen == [1]
    assert len(after) == llama.n_layers + 1
    torch.testing.assert_close(before, after)


def test_stops_after_the_deepest_layer(llama):
    reached = []
    hooks = [
        llama.layer(2).register_forward_hook(lambda *_: reached.append("layer 2")),
        llama.hf.lm_head.register_forward_hook(lambda *_: reached.append("head")),
    ]
    wb.capture(llama, CHATS[:2], "resid", layers=[1])
    for hook in hooks:
        hook.remove()
    assert reached == []


def test_save_and_load(llama, tmp_path):
    acts = wb.capture(llama, CHATS, "heads", wb.last(5))
    acts.save(tmp_path / "acts")
    again = wb.Activations.load(tmp_path / "acts")
    torch.testing.assert_close(acts.values, again.values, equal_nan=True)
    assert (acts.site, acts.layers, acts.positions) == (again.site, again.layers, again.positions)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_batch_nor_padding_side_changes_a_value(tokenizer, side, dtype):
    """The stated tolerances: 2e-5 in float32, 3 % of the largest value in bfloat16."""
    model = build("qwen3", tokenizer, dtype=dtype)
    model.tokenizer.padding_side = side
    one = wb.capture(model, CHATS, "resid", wb.last(3), token_budget=1).values
    many = wb.capture(model, CHATS, "resid", wb.last(3), token_budget=4000).values
    tolerance = 2e-5 if dtype == torch.float32 else 0.03 * one.abs().max()
    assert (one - many).abs().max() <= tolerance


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"),
              RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")],
)  # fmt: skip
def test_out_of_memory_halves_the_batch(llama, caplog, error):
    sizes = []

    def limited(_, args):
        tokens = args[0].shape[0] * args[0].shape[1]
        if tokens > 100:
            raise error
        sizes.append(tokens)

    expected = wb.capture(llama, CHATS, "resid", wb.last(2))
    hook = llama.layer(1).register_forward_pre_hook(limited)
    try:
        acts = wb.capture(llama, CHATS, "resid", wb.last(2), token_budget=4000)
        assert max(sizes) <= 100
        assert "out of memory at" in caplog.text
        torch.testing.assert_close(acts.values, expected.values, atol=2e-5, rtol=2e-5)
        with pytest.raises(MemoryError, match=r"prompt 1 with 1\d\d tokens does not fit"):
            wb.capture(llama, ["Hello.", "gate " * 120])
    finally:
        hook.remove()
    assert llama.in_flight is None


def test_an_error_of_the_model_itself_is_passed_on(llama):
    def broken(*_):
        raise RuntimeError("the model broke")

    hook = llama.layer(1).register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="the model broke"):
        wb.capture(llama, CHATS)
    hook.remove()


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("heads", r"prompt \d, layer 1 head 4: the activation is NaN"),
        ("resid", r"prompt \d, layer 0: the activation is NaN or infinite"),
    ],
)
def test_activations_that_are_not_finite_are_named(tokenizer, site, message):
    model = build("llama", tokenizer)
    if site == "heads":
        # Row 16 of v_proj is the first channel of the third group's value: 2 groups of 8.
        model.layer(1).self_attn.v_proj.weight.data[8:] = 0
        model.o_proj(1).register_forward_pre_hook(
            lambda _, args: (torch.cat([args[0][..., :32], args[0][..., 32:] / 0], -1),)
        )
    else:
        model.layer(0).mlp.down_proj.weight.data[5, 3] = torch.inf
    with pytest.raises(FloatingPointError, match=message):
        wb.capture(model, CHATS, site)


def test_bad_input(llama):
    with pytest.raises(ValueError, match="unknown site 'head'; sites are heads, resid, mlp"):
        wb.capture(llama, CHATS, "head")
    with pytest.raises(ValueError, match=r"layers\[0\]=7: .* at most 2"):
        wb.capture(llama, CHATS, layers=[7])
    with pytest.raises(ValueError, match="no prompts"):
        wb.capture(llama, [])
    with pytest.raises(ValueError, match="not one string"):
        wb.capture(llama, "Hello.")
