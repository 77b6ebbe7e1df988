"""Options scored in batches against plain transformers, one unpadded prompt at a time."""

import math

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

import workbench as wb
from tests.helpers.directions import some_lock, some_residual
from tests.helpers.families import CHATS, build
from tests.helpers.faults import not_finite_at, short_of_memory
from tests.helpers.prompts import HEAD, MIXED, PROMPTS, TAILS, longrope
from workbench.errors import ContextLengthError, DatasetError, GenerationError, ModelError
from workbench.generation import batching, fitting
from workbench.generation.choices import (
    Questions,
    entropy,
    expected,
    normalised,
    option_ids,
    scored,
    token_logprobs,
)
from workbench.models.model import InFlight
from workbench.models.prompts import encode, encode_all

LETTERS = ("A", "B", "C", "D", "E")
BEGUN = [
    [*chat[:1], {"role": "assistant", "content": reply}]
    for chat in CHATS[::3]
    for reply in ("Option (", "I would say: (", "(")
]
ITEMS = [
    [
        {"role": "system", "content": HEAD},
        {"role": "user", "content": tail},
        {"role": "assistant", "content": "Option ("},
    ]
    for tail in TAILS
]
EVERY = [*MIXED, *BEGUN, *ITEMS]


@torch.no_grad()
def one_by_one(model, prompts, options=LETTERS):
    """`[prompt, option]` from a forward of each unpadded text."""
    ids = [model.tokenizer.convert_tokens_to_ids(option) for option in options]
    rows = []
    for one in (encode(model, p) for p in prompts):
        model.in_flight = InFlight(torch.tensor([0]), 1, torch.tensor([one.start]))
        rows.append(model.hf(torch.tensor([one.ids])).logits[0, -1].float())
    model.in_flight = None
    return torch.stack(rows).log_softmax(-1)[:, ids]


class Counted:
    """What the first layer computes: forwards, rows and tokens, pads included."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.forwards = self.rows = self.tokens = 0
        self.hook = self.model.layer(0).register_forward_pre_hook(self.count)
        return self

    def count(self, _, args):
        self.forwards += 1
        self.rows += args[0].shape[0]
        self.tokens += args[0].shape[0] * args[0].shape[1]

    def __exit__(self, *_):
        self.hook.remove()


def test_every_family_is_plain_transformers(family_model):
    """1e-5: strings, chats and replies begun, of all lengths, some with a shared beginning."""
    model = family_model
    got = wb.option_logprobs(model, EVERY, LETTERS)
    assert got.dtype == torch.float32
    assert got.shape == (len(EVERY), 5)
    torch.testing.assert_close(got, one_by_one(model, EVERY), atol=1e-5, rtol=1e-5)
    assert model.in_flight is None
    assert len({tuple(row) for row in got.tolist()}) > len(EVERY) / 2


def test_tokens_are_scored_as_the_options_they_spell(llama):
    ids = [llama.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS]
    got = token_logprobs(llama, EVERY, ids)
    torch.testing.assert_close(got, one_by_one(llama, EVERY), atol=1e-5, rtol=1e-5)
    assert token_logprobs(llama, [], ids).shape == (0, 5)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_batch_size_and_order_do_not_matter(llama, size):
    expect = wb.option_logprobs(llama, EVERY, LETTERS)
    order = torch.randperm(len(EVERY), generator=torch.Generator().manual_seed(0)).tolist()
    got = wb.option_logprobs(llama, [EVERY[i] for i in order], LETTERS, batch_size=size)
    torch.testing.assert_close(got, expect[order], atol=1e-5, rtol=1e-5)
    some = wb.option_logprobs(llama, EVERY, ("E", "B"), batch_size=size)
    torch.testing.assert_close(some, expect[:, [4, 1]], atol=1e-5, rtol=1e-5)


def test_questions_asked_several_times_keep_the_options_of_their_own_prompts(llama):
    ids = torch.tensor([[5, 6], [7, 9], [6, 5]])
    questions = Questions(encode_all(llama, PROMPTS[:3]), ids)
    repeated = Questions(questions.encoded * 2, questions.options.repeat(2, 1))
    once, twice = scored(llama, questions), scored(llama, repeated)
    torch.testing.assert_close(twice, torch.cat([once, once]), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(once[0], once[1])


def test_a_shared_beginning_is_computed_once(llama, monkeypatch):
    prompts = [*PROMPTS, *ITEMS]
    with Counted(llama) as shared:
        got = wb.option_logprobs(llama, prompts, LETTERS)
    monkeypatch.setattr(fitting, "plan", lambda *a, **k: batching.plan(*a, **{**k, "reuse": False}))
    with Counted(llama) as apart:
        torch.testing.assert_close(
            wb.option_logprobs(llama, prompts, LETTERS), got, atol=1e-5, rtol=1e-5
        )
    assert shared.tokens < apart.tokens / 2
    assert apart.rows == len(prompts)


def test_one_forward_an_item_where_generation_takes_fifteen(tokenizer):
    model = build("llama", tokenizer)
    model.hf.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    wb.generate(model, BEGUN, max_new_tokens=1)
    with Counted(model) as decoded:
        wb.generate(model, BEGUN, max_new_tokens=15)
    with Counted(model) as scored:
        wb.option_logprobs(model, BEGUN, LETTERS)
    assert (scored.forwards, scored.rows) == (1, len(BEGUN))
    assert (decoded.forwards, decoded.rows) == (15, 15 * len(BEGUN))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_windows_shorter_than_the_text(tokenizer, family, attention):
    model = build(family, tokenizer, sliding_window=16)
    model.hf.set_attn_implementation(attention)
    got = wb.option_logprobs(model, EVERY, LETTERS)
    torch.testing.assert_close(got, one_by_one(model, EVERY), atol=1e-5, rtol=1e-5)


def test_frequencies_that_depend_on_length(tokenizer):
    model = longrope(tokenizer)
    prompts = ["Mend the gate. " * i + "Now" for i in (1, 3, 5, 6, 7, 8, 20)]
    got = wb.option_logprobs(model, prompts, LETTERS)
    torch.testing.assert_close(got, one_by_one(model, prompts), atol=1e-5, rtol=1e-5)


def test_without_a_cache(tokenizer):
    model = build("llama", tokenizer)
    model.hf.generation_config.use_cache = False
    got = wb.option_logprobs(model, EVERY, LETTERS)
    torch.testing.assert_close(got, one_by_one(model, EVERY), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_normalised_in_float32(tokenizer, dtype):
    model = build("qwen3", tokenizer, dtype=dtype)
    got = wb.option_logprobs(model, ["Sure, mend"], LETTERS)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, one_by_one(model, ["Sure, mend"]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [some_lock, some_residual])
@pytest.mark.parametrize("mode", ["all", "generated", "last"])
def test_an_alpha_for_each_prompt(llama, kind, mode):
    """As each prompt alone with its own alpha; equal prompts keep theirs."""
    direction = kind(llama, scale=4.0)
    prompts = [*EVERY, EVERY[-1], EVERY[-1]]
    alphas = [[0.0, 0.5, 1.0, 2.0, 3.0][i % 5] for i in range(len(prompts))]
    alone = []
    for prompt, alpha in zip(prompts, alphas, strict=True):
        with wb.steer(llama, direction, alpha, mode=mode, how="hook"):
            alone.append(one_by_one(llama, [prompt]))
    for size in (None, 4):
        with wb.steer(llama, direction, alphas, mode=mode):
            got = wb.option_logprobs(llama, prompts, LETTERS, batch_size=size)
        torch.testing.assert_close(got, torch.cat(alone), atol=2e-5, rtol=1e-5)
    assert not torch.allclose(got[-1], got[-2], atol=1e-2)


def test_as_many_alphas_as_prompts(llama):
    with (
        wb.steer(llama, some_lock(llama), [1.0, 2.0]),
        pytest.raises(ValueError, match="2 alphas, one for each, but 3 prompts"),
    ):
        wb.option_logprobs(llama, EVERY[:3], LETTERS)
    assert llama.in_flight is None


@pytest.mark.parametrize("how", ["fold", "hook"])
def test_one_alpha_for_all(llama, how):
    lock = some_lock(llama, k=8, scale=3.0)
    plain = wb.option_logprobs(llama, EVERY, LETTERS)
    with wb.steer(llama, lock, 2.0, how=how), Counted(llama) as counted:
        got = wb.option_logprobs(llama, EVERY, LETTERS)
        torch.testing.assert_close(got, one_by_one(llama, EVERY), atol=1e-5, rtol=1e-5)
    assert counted.rows - len(EVERY) >= len(EVERY)
    assert not torch.allclose(got, plain, atol=1e-2)
    folded = wb.fold(llama, lock, 2.0)
    again = wb.option_logprobs(llama, EVERY, LETTERS)
    folded.undo()
    torch.testing.assert_close(again, got, atol=1e-5, rtol=1e-5)
    assert torch.equal(wb.option_logprobs(llama, EVERY, LETTERS), plain)


def byte_level(merges, unknown=None):
    """A tokenizer of the letters of ASCII and the tokens that `merges` make (Ġ is a space)."""
    letters = [*map(chr, range(33, 127)), "Ġ", "Ċ"]
    vocab = dict.fromkeys([*letters, *("".join(pair) for pair in merges)])
    inner = Tokenizer(models.BPE({t: i for i, t in enumerate(vocab)}, merges, unk_token=unknown))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="!", bos_token='"', eos_token="#", unk_token=unknown
    )


def with_merges(*merges, unknown=None):
    return build("llama", byte_level(list(merges), unknown))


def apiece(model, *tokens):
    """The ids of tokens that options of one token each are."""
    return [[i] for i in model.tokenizer.convert_tokens_to_ids(list(tokens))]


def test_an_option_that_merges_with_what_precedes_it():
    model = with_merges(("(", "A"))
    match = (
        r"after 'Option \(' the options are not tokens of their own, .*'A' \[\d+.*\] in place of"
    )
    with pytest.raises(ModelError, match=match):
        option_ids(model, LETTERS, "Option (")
    with pytest.raises(ModelError, match="Use other options"):
        wb.option_logprobs(model, ["Option ("], LETTERS)
    assert option_ids(model, LETTERS, "Option") == apiece(model, *LETTERS)
    # Where none of the options merges, there is nothing to complain of.
    assert option_ids(model, LETTERS[1:], "Option (") == apiece(model, *LETTERS[1:])


def test_the_end_of_a_text_that_a_space_belongs_to():
    """Behind "Answer: " every letter takes the space; behind "Answer:" none has to."""
    model = with_merges(*(("Ġ", letter) for letter in LETTERS))
    with pytest.raises(ModelError, match="before its last space"):
        option_ids(model, LETTERS, "Answer: ")
    assert option_ids(model, LETTERS, "Answer:") == apiece(model, *LETTERS)
    spaced = [f" {letter}" for letter in LETTERS]
    assert option_ids(model, spaced, "Answer:") == apiece(model, *(f"Ġ{x}" for x in LETTERS))


def test_options_that_are_tokens_only_with_a_space():
    merges = [("y", "e"), ("ye", "s"), ("n", "o"), ("Ġ", "yes"), ("Ġ", "no")]
    model = with_merges(*merges[:1], ("Ġ", "n"), ("Ġn", "o"), ("Ġ", "ye"), ("Ġye", "s"))
    found = option_ids(model, ("yes", "no"), "Answer:")
    assert found == apiece(model, "Ġyes", "Ġno")
    got = wb.option_logprobs(model, ["Answer:"], ("yes", "no"))
    ids = torch.tensor([encode(model, "Answer:").ids])
    with torch.no_grad():
        expect = model.hf(ids).logits[0, -1].log_softmax(-1)[torch.tensor(found)[:, 0]]
    torch.testing.assert_close(got[0], expect, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [("A", "BB", ""), ("A", ""), ("A", "B", "A"), ("BB", "A", "BB")]
)
def test_options_of_no_token_or_twice(llama, options):
    with pytest.raises(ModelError, match="not tokens of their own, all different") as caught:
        wb.option_logprobs(llama, BEGUN, options)
    for option in options:
        ids = llama.tokenizer(option, add_special_tokens=False)["input_ids"]
        assert f"{option!r} {ids}" in str(caught.value)


def test_an_empty_option_is_no_space(tiny):
    with pytest.raises(ModelError, match="not tokens of their own"):
        wb.option_logprobs(tiny, ["Hi"], ["a", ""])


def test_options_that_the_tokenizer_does_not_know():
    """An unknown token stands for anything."""
    known = {"[UNK]": 0, "[PAD]": 1, "Answer": 2, "A": 3, "B": 4}
    inner = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[PAD]"
    )
    words.bos_token = "[PAD]"
    model = build("llama", words)
    assert option_ids(model, ("A", "B"), "Answer") == [[3], [4]]
    with pytest.raises(ModelError, match=r"'C' \[0\]"):
        option_ids(model, ("A", "C"), "Answer")


def test_a_tokenizer_that_ends_texts_by_itself(tokenizer):
    """What follows the end token is no answer."""
    model = build("llama", tokenizer)
    inner = model.tokenizer.backend_tokenizer
    kept = inner.post_processor
    eos = tokenizer.eos_token
    inner.post_processor = TemplateProcessing(
        single=f"$A {eos}", special_tokens=[(eos, tokenizer.eos_token_id)]
    )
    try:
        got = wb.option_logprobs(model, ["Answer: ("], LETTERS)
    finally:
        inner.post_processor = kept
    torch.testing.assert_close(got, wb.option_logprobs(model, ["Answer: ("], LETTERS))


def test_options_are_resolved_once_for_every_end(llama, monkeypatch):
    made = []
    monkeypatch.setattr(
        "workbench.generation.choices.option_ids",
        lambda model, options, text, **k: (made.append(text), option_ids(model, options, text))[1],
    )
    wb.option_logprobs(llama, BEGUN * 3, LETTERS)
    assert made == ["Option (", "I would say: (", "("]
    made.clear()
    long = [f"{tail} {HEAD}Answer: (" for tail in TAILS]
    wb.option_logprobs(llama, long, LETTERS)
    assert len(made) == 1
    assert long[0].endswith(made[0])


def test_an_end_that_is_split_otherwise_by_itself(monkeypatch):
    """The cut falls into a token: the whole text decides."""
    monkeypatch.setattr("workbench.generation.choices._TAIL", 1)
    merges = [("x", "y"), ("xy", "z"), ("y", "z")]
    model = with_merges(*merges, ("z", "A"))
    prompts = ["Say xyz", "Say yz"]
    got = wb.option_logprobs(model, prompts, LETTERS)
    torch.testing.assert_close(got, one_by_one(model, prompts), atol=1e-5, rtol=1e-5)


def test_logits_that_are_not_finite_name_the_prompt(tokenizer):
    model = not_finite_at("!", tokenizer, torch.nan)
    for head in ("", HEAD):
        prompts = [head + x for x in ("Mend it.", "No", "Curse it!", "Sure, sure, sure.")]
        with pytest.raises(GenerationError, match=r"not finite in torch.bfloat16: prompt 2"):
            wb.option_logprobs(model, prompts, LETTERS)
        assert model.in_flight is None


@pytest.mark.parametrize("prompts", [PROMPTS, MIXED[:7]])
def test_out_of_memory_halves_the_batch(llama, caplog, prompts):
    expect = wb.option_logprobs(llama, prompts, LETTERS)
    with short_of_memory(llama, rows=2) as memory:
        got = wb.option_logprobs(llama, prompts, LETTERS)
    torch.testing.assert_close(got, expect, atol=1e-5, rtol=1e-5)
    assert max(memory.rows) <= 2
    assert "out of memory with" in caplog.text


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_context_is_used_to_its_last_token(tokenizer, family):
    model = build(family, tokenizer)
    text = "(" * model.context_length
    assert len(encode(model, text).ids) == model.context_length
    got = wb.option_logprobs(model, [text, "Mend"], LETTERS)
    torch.testing.assert_close(got, one_by_one(model, [text, "Mend"]), atol=1e-5, rtol=1e-5)


def test_bad_input_comes_before_any_forward(llama, tiny):
    with Counted(llama) as counted, Counted(tiny) as counted_tiny:
        with pytest.raises(ContextLengthError, match="prompt 1 has") as caught:
            wb.option_logprobs(tiny, ["Hello.", "gate " * 600], LETTERS)
        assert caught.value.request == 1
        for prompt in ("", 3, [], [{"role": "user"}]):
            with pytest.raises(DatasetError, match="prompt 1"):
                wb.option_logprobs(llama, ["Hello.", prompt], LETTERS)
        with pytest.raises(ModelError, match="rejects roles"):
            wb.option_logprobs(llama, [[{"role": "judge", "content": "x"}]], LETTERS)
        with pytest.raises(ValueError, match="must be a list"):
            wb.option_logprobs(llama, "Hello.", LETTERS)
        with pytest.raises(ValueError, match="must be a list"):
            wb.option_logprobs(llama, ["Hello."], "ABCDE")
        with pytest.raises(ValueError, match="no options"):
            wb.option_logprobs(llama, ["Hello."], ())
        with pytest.raises(ValueError, match="batch_size=0"):
            wb.option_logprobs(llama, ["Hello."], LETTERS, batch_size=0)
        assert wb.option_logprobs(llama, [], LETTERS).shape == (0, 5)
    assert counted.forwards == counted_tiny.forwards == 0


def test_probabilities_among_the_options():
    logprobs = torch.log(torch.tensor([[0.2, 0.1, 0.1], [0.0, 0.0, 0.5]]))
    torch.testing.assert_close(
        normalised(logprobs), torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    )
    torch.testing.assert_close(expected(logprobs, (5, 4, 1)), torch.tensor([3.75, 1.0]))
    torch.testing.assert_close(expected(logprobs[0], (5, 4, 1)), torch.tensor(3.75))
    with pytest.raises(ValueError, match="2 values for 3 options"):
        expected(logprobs, (5, 4))


def test_entropy_in_bits():
    assert entropy(torch.zeros(4, 5, dtype=torch.long)) == 0
    assert entropy([0, 1, 2, 3] * 3) == pytest.approx(2)
    assert entropy(torch.tensor([[0, 0], [0, 1]])) == pytest.approx(2 - 0.75 * math.log2(3))
    with pytest.raises(ValueError, match="no choices"):
        entropy([])
