"""Modes mean the same tokens with any cache, padding and cut; the truth is one forward by hand."""

import copy

import pytest
import torch
from transformers import CompileConfig, DynamicCache, GenerationConfig, StaticCache

import workbench as wb
from tests.helpers.directions import IDS, by_hand, some_lock, some_residual
from tests.helpers.families import build
from workbench.errors import SteeringError

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
N = IDS.shape[1]
NEW = torch.tensor([[5, 77, 31]])
TEXT = torch.cat([IDS, NEW], 1)
MODES = ["generated", "last"]


@pytest.fixture(scope="module")
def model(tokenizer):
    return build("llama", tokenizer)


@pytest.fixture(scope="module")
def both(model):
    return [some_lock(model, k=12), some_residual(model)]


def first_column(mode, end=N):
    return {"all": 0, "generated": end, "last": end - 1}[mode]


@torch.no_grad()
def truth(model, both, mode, ids=TEXT, end=N):
    """Logits of the whole text, the shift written at the columns the mode names."""
    return by_hand(model, [(d, 2.0) for d in both], ids, slice(first_column(mode, end), None))


@torch.no_grad()
def in_pieces(hf, ids, cuts, cache=None):
    """Logits of a text fed in pieces into one cache, with a mask of all so far or without one."""
    cache = DynamicCache(config=hf.config) if cache is None else cache
    past, logits = cache.get_seq_length(), []
    for i, piece in enumerate(ids[:, past:].split(cuts, 1)):
        past += piece.shape[1]
        mask = torch.ones(len(ids), past, dtype=torch.long) if i % 2 else None
        logits.append(hf(piece, past_key_values=cache, attention_mask=mask).logits)
    return torch.cat(logits, 1)


CUTS = [(6, 1, 1, 1), (3, 3, 3), (5, 1, 1, 2), (5, 4), (8, 1), (1,) * 9, (9,), (2, 7)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cuts", CUTS)
def test_a_text_in_pieces_is_steered_from_where_the_caller_says(model, both, mode, cuts):
    with wb.steer(model, both, 2.0, mode=mode, start=N):
        got = in_pieces(model.hf, TEXT, cuts)
    torch.testing.assert_close(got, truth(model, both, mode), **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cuts", [cuts for cuts in CUTS if len(cuts) > 1])
def test_where_the_prompt_ends_is_not_guessed(model, both, mode, cuts):
    with (
        wb.steer(model, both, 2.0, mode=mode),
        pytest.raises(SteeringError, match=r"Say steer\(\.\.\., start"),
    ):
        in_pieces(model.hf, TEXT, cuts)


@pytest.mark.parametrize("cuts", CUTS)
def test_mode_all_needs_no_start(model, both, cuts):
    with wb.steer(model, both, 2.0, how="hook"):
        got = in_pieces(model.hf, TEXT, cuts)
    torch.testing.assert_close(got, truth(model, both, "all"), **CLOSE)


@pytest.mark.parametrize("mode", ["all", *MODES])
@torch.no_grad()
def test_caches_cropped_copied_static_and_taken_up_again(model, both, mode):
    start = None if mode == "all" else N
    expected = truth(model, both, mode)
    other = torch.cat([IDS, NEW.flip(1)], 1)
    expected_other = truth(model, both, mode, other)
    with wb.steer(model, both, 2.0, mode=mode, how="hook", start=start):
        cache = model.hf(TEXT).past_key_values
        copied = copy.deepcopy(cache)
        cache.crop(-5)
        torch.testing.assert_close(in_pieces(model.hf, TEXT, 2, cache), expected[:, 4:], **CLOSE)
        copied.crop(-3)
        got = in_pieces(model.hf, other, 3, copied)
        torch.testing.assert_close(got, expected_other[:, N:], **CLOSE)
        static = StaticCache(config=model.hf.config, max_cache_len=20)
        mask = torch.ones(1, 20, dtype=torch.long)
        mask[:, len(TEXT[0]) :] = 0
        first = model.hf(TEXT[:, :7], past_key_values=static).logits
        rest = model.hf(TEXT[:, 7:], past_key_values=static).logits
        torch.testing.assert_close(torch.cat([first, rest], 1), expected, **CLOSE)
        got = model.hf(TEXT, attention_mask=mask[:, : len(TEXT[0])]).logits
        torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("mode", ["all", *MODES])
@torch.no_grad()
def test_a_cache_of_other_steering_is_refused_where_it_holds_steered_tokens(model, both, mode):
    start = None if mode == "all" else N
    outside = model.hf(TEXT).past_key_values
    with wb.steer(model, both, 1.0, mode=mode, how="hook", start=start):
        weaker = model.hf(TEXT).past_key_values
    with wb.steer(model, both, 2.0, mode=mode, how="hook", start=start):
        half = model.hf(TEXT[:, :7]).past_key_values
    model.hf(TEXT[:, 7:], past_key_values=half)
    for cache in (outside, weaker, half):
        with (
            wb.steer(model, both, 2.0, mode=mode, how="hook", start=start),
            pytest.raises(SteeringError, match="9 tokens were not steered as"),
        ):
            model.hf(NEW, past_key_values=cache)
    if mode == "all":
        return
    end = first_column(mode)
    prompt = model.hf(IDS[:, :end]).past_key_values
    with wb.steer(model, both, 2.0, mode=mode, start=start):
        got = in_pieces(model.hf, TEXT, 2, prompt)
    torch.testing.assert_close(got, truth(model, both, mode)[:, end:], **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_a_padded_prompt_ends_where_its_mask_does(model, both, mode, side):
    rows = [IDS[0], IDS[0, :4], IDS[0, 1:3]]
    ids, mask = torch.zeros(3, N + 1, dtype=torch.long), torch.zeros(3, N + 1, dtype=torch.long)
    slices = [slice(N + 1 - len(r), None) if side == "left" else slice(0, len(r)) for r in rows]
    for i, (row, columns) in enumerate(zip(rows, slices, strict=True)):
        ids[i, columns], mask[i, columns] = row, 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for kwargs in ({"attention_mask": mask}, {"attention_mask": mask.bool()}):
        with wb.steer(model, both, 2.0, mode=mode):
            got = model.hf(ids, position_ids=positions, **kwargs).logits
            stack = model.hf.model(ids, mask, positions).last_hidden_state
        for i, (row, columns) in enumerate(zip(rows, slices, strict=True)):
            expected = truth(model, both, mode, row[None], len(row))
            torch.testing.assert_close(got[i, columns], expected[0], **CLOSE)
            torch.testing.assert_close(model.hf.lm_head(stack[i, columns]), expected[0], **CLOSE)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_what_does_not_say_where_prompts_end_is_refused(model, both, mode):
    square = torch.ones(N, N).tril().bool()[None, None]
    packed = torch.tensor([[0, 1, 2, 0, 1, 2]])
    calls = [{"attention_mask": square}, {"position_ids": packed}]
    with wb.steer(model, both, 2.0, mode=mode):
        for kwargs in calls:
            with pytest.raises(SteeringError, match="start"):
                model.hf(IDS, **kwargs)
    with wb.steer(model, both, 2.0, mode=mode, start=[N]):
        got = model.hf(IDS, attention_mask=square).logits
    torch.testing.assert_close(got, truth(model, both, mode, IDS), **CLOSE)
    for start in (-1, 1.5, [[1]]):
        with (
            pytest.raises(ValueError, match=r"start=.* it must be a whole number at least 0"),
            wb.steer(model, both, 2.0, mode=mode, start=start),
        ):
            pass
    with pytest.raises(ValueError, match="no meaning"), wb.steer(model, both, 2.0, start=3):
        pass


COMPILED = CompileConfig(backend="eager")
COMPILED._compile_all_devices = True
GENERATE = {
    "plain": {},
    "no mask": {"attention_mask": None},
    "no cache": {"use_cache": False},
    "static": {"cache_implementation": "static"},
    "compiled": {
        "cache_implementation": "static",
        "compile_config": COMPILED,
    },
    "chunks": {"prefill_chunk_size": 4},
    "guesses": {"prompt_lookup_num_tokens": 3},
    "config": {"generation_config": GenerationConfig(max_new_tokens=6, do_sample=False)},
}


OPTIONS = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def generated(model, *args, **kwargs):
    options = {**OPTIONS, "output_logits": True, "return_dict_in_generate": True, **kwargs}
    if "generation_config" in options:
        del options["max_new_tokens"], options["do_sample"]
    return model.hf.generate(*args, **options)


def check_steps(model, both, mode, out, prompt):
    """Every step's logits are those of one forward by hand over all that was generated."""
    new = out.sequences[:, -len(out.logits) :]
    text = torch.cat([prompt, new], 1)
    assert text.shape[1] == prompt.shape[1] + 6
    expected = truth(model, both, mode, text, prompt.shape[1])[:, prompt.shape[1] - 1 : -1]
    torch.testing.assert_close(torch.stack(out.logits, 1), expected, atol=1e-3, rtol=1e-3)
    for other in {"all", *MODES} - {mode}:
        wrong = truth(model, both, other, text, prompt.shape[1])[:, prompt.shape[1] - 1 : -1]
        assert (wrong - expected).abs().max() > 0.01


@pytest.mark.parametrize("mode", ["all", *MODES])
@pytest.mark.parametrize("options", GENERATE.values(), ids=GENERATE)
def test_generate_means_the_same_however_it_decodes(model, both, mode, options):
    kwargs = {"attention_mask": torch.ones_like(IDS), **options}
    with wb.steer(model, both, 2.0, mode=mode, how="hook"):
        outs = [generated(model, IDS, **kwargs), generated(model, input_ids=IDS, **kwargs)]
    for out in outs:
        check_steps(model, both, mode, out, IDS)
    assert "generate" not in vars(model.hf)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_generate_goes_on_from_caches_and_embeddings(model, both, mode):
    mask = torch.ones(1, 40, dtype=torch.long)
    with wb.steer(model, both, 2.0, mode=mode):
        embeds = model.hf.get_input_embeddings()(IDS)
        out = generated(model, inputs_embeds=embeds, attention_mask=mask[:, :N])
        beginning = model.hf(IDS[:, : N - 2]).past_key_values
    check_steps(model, both, mode, out, IDS)
    beginning = model.hf(IDS[:, : N - 2]).past_key_values
    with wb.steer(model, both, 2.0, mode=mode):
        # The beginning, cached before; then only what is new, with the mask of all.
        outs = [
            generated(model, given, past_key_values=copy.deepcopy(beginning),
                      attention_mask=mask[:, :N])
            for given in (IDS, IDS[:, N - 2 :])
        ]  # fmt: skip
    for out in outs:
        check_steps(model, both, mode, out, IDS)
    # What was generated in a first turn is a prompt in the second: it must not be steered.
    with wb.steer(model, both, 2.0, mode=mode):
        cache = DynamicCache(config=model.hf.config)
        first = generated(model, IDS, past_key_values=cache, attention_mask=mask[:, :N])
        second = torch.cat([first.sequences, NEW], 1)
        width = second.shape[1]
        out = generated(model, second, attention_mask=mask[:, :width])
        with pytest.raises(SteeringError, match="a reply that is now"):
            generated(model, second, past_key_values=cache, attention_mask=mask[:, :width])
    check_steps(model, both, mode, out, second)


@pytest.mark.parametrize("mode", ["all", *MODES])
@torch.no_grad()
def test_beams_and_samples_have_the_alpha_of_their_prompt(model, both, mode):
    ids = torch.cat([IDS, IDS.flip(1)])
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 5, "pad_token_id": 0,
               "eos_token_id": None, "do_sample": False}  # fmt: skip
    for kwargs in ({"num_beams": 3, "num_return_sequences": 2}, {"num_beams": 2}, {}):
        with wb.steer(model, both, [[0.5, 3.0], [2.0, 0.0]], mode=mode, how="hook"):
            together = model.hf.generate(ids, **options, **kwargs)
        each = len(together) // 2
        for i, alphas in enumerate(([0.5, 2.0], [3.0, 0.0])):
            options_of_one = {**options, "attention_mask": options["attention_mask"][:1]}
            with wb.steer(model, both, alphas, mode=mode, how="hook"):
                alone = model.hf.generate(ids[i : i + 1], **options_of_one, **kwargs)
            assert torch.equal(together[i * each : (i + 1) * each], alone)


def test_guidance_is_refused_where_prompts_matter(model, both):
    with (
        wb.steer(model, both, 2.0, mode="last"),
        pytest.raises(SteeringError, match="guidance_scale"),
    ):
        model.hf.generate(IDS, guidance_scale=2.0, max_new_tokens=2)


@pytest.mark.parametrize("mode", ["all", "last"])
def test_drafts_of_the_models_own_first_layers_are_refused_and_leave_all_layers(model, both, mode):
    with (
        wb.steer(model, both, 2.0, mode=mode, how="hook"),
        pytest.raises(SteeringError, match="skips layers that are steered"),
    ):
        model.hf.generate(IDS, assistant_early_exit=2, max_new_tokens=2)
    assert model.hf.config.num_hidden_layers == 3
