"""Options of several tokens against plain transformers; those of one token are as they were."""

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import workbench as wb
from tests.generation.test_choices import BEGUN, EVERY, ITEMS, LETTERS, Counted
from tests.helpers.directions import some_lock
from tests.helpers.families import build
from tests.helpers.faults import not_finite_at, short_of_memory
from tests.helpers.prompts import PROMPTS
from workbench.errors import ContextLengthError, GenerationError, ModelError
from workbench.generation import batching, fitting
from workbench.generation.choices import ask, token_logprobs
from workbench.models.model import InFlight
from workbench.models.prompts import encode

SEVERAL = ("A", "BB", "CAB", "B", "AB")


def alone(model, prompts, options, per_token=False):
    """`[prompt, option]` from a forward of each unpadded text with each option."""
    rows = []
    for prompt in prompts:
        encoded, row = encode(model, prompt), []
        for option in options:
            tokens = model.tokenizer(option, add_special_tokens=False)["input_ids"]
            start = torch.tensor([encoded.start])
            model.in_flight = InFlight(torch.tensor([0]), 1, start)
            with torch.no_grad():
                logits = model.hf(torch.tensor([encoded.ids + tokens])).logits[0]
            model.in_flight = None
            ends = logits.float().log_softmax(-1)[-len(tokens) - 1 : -1]
            of_tokens = ends.gather(1, torch.tensor(tokens)[:, None])
            row.append(of_tokens.mean() if per_token else of_tokens.sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("size", [None, 3])
def test_options_of_several_tokens(llama, per_token, size):
    lengths = [len(llama.tokenizer(x, add_special_tokens=False)["input_ids"]) for x in SEVERAL]
    assert len(set(lengths)) == 3
    got = wb.option_logprobs(llama, EVERY, SEVERAL, per_token=per_token, batch_size=size)
    assert got.dtype == torch.float32
    expected = alone(llama, EVERY, SEVERAL, per_token)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)
    # Those of one token are the same as among their like.
    among = wb.option_logprobs(llama, EVERY, ("A", "B"), per_token=per_token)
    torch.testing.assert_close(got[:, [0, 3]], among, atol=1e-5, rtol=1e-5)


def test_all_continuations_of_two_tokens_are_as_likely_as_their_first():
    """Of a vocabulary of 4: exp adds up to 1, and over the second token to the first one's."""
    known = {"[UNK]": 0, "a": 1, "b": 2, "c": 3}
    inner = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    model = build("llama", transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="c", bos_token="c", eos_token="c"))  # fmt: skip
    pairs = [first + second for first in "abc" for second in "abc"]
    got = wb.option_logprobs(model, ["ab", "c"], [*pairs, *"abc"]).exp()
    unknown = token_logprobs(model, ["ab", "c"], [0]).exp()
    by_first = got[:, :9].view(2, 3, 3).sum(2)
    after = token_logprobs(model, [text + x for text in ("ab", "c") for x in "abc"], [0]).exp()
    firsts = got[:, 9:]
    torch.testing.assert_close(by_first + firsts * after.view(2, 3), firsts)
    torch.testing.assert_close(firsts.sum(1) + unknown[:, 0], torch.ones(2))


def test_one_token_options_are_as_ever_bit_by_bit(family_model):
    """Those of one forward of all prompts in a batch, from its own logits."""
    prompts = ["((", ")(", ".("]
    ids = torch.tensor([encode(family_model, prompt).ids for prompt in prompts])
    with torch.inference_mode():
        whole = family_model.hf(
            ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=1
        )
        logits = whole.logits[:, -1].float()
    letters = torch.tensor(family_model.tokenizer.convert_tokens_to_ids(list(LETTERS)))
    expected = logits[:, letters] - logits.logsumexp(1, keepdim=True)
    assert torch.equal(wb.option_logprobs(family_model, prompts, LETTERS), expected)


def test_options_share_their_prompt(llama, monkeypatch):
    prompts = [*PROMPTS[:2], ITEMS[0]]
    with Counted(llama) as shared:
        got = wb.option_logprobs(llama, prompts, SEVERAL)
    monkeypatch.setattr(fitting, "plan", lambda *a, **k: batching.plan(*a, **{**k, "reuse": False}))
    with Counted(llama) as apart:
        again = wb.option_logprobs(llama, prompts, SEVERAL)
    torch.testing.assert_close(got, again, atol=2e-5, rtol=1e-5)
    assert apart.rows == len(prompts) * len(SEVERAL)
    assert shared.tokens < apart.tokens / 3


@pytest.mark.parametrize("mode", ["all", "generated", "last"])
def test_an_alpha_for_each_prompt_with_options_of_several_tokens(llama, mode):
    direction, alphas = some_lock(llama, scale=4.0), [i % 4 / 2 for i in range(len(EVERY))]
    expected = []
    for prompt, alpha in zip(EVERY, alphas, strict=True):
        with wb.steer(llama, direction, alpha, mode=mode, how="hook"):
            expected.append(alone(llama, [prompt], SEVERAL))
    with wb.steer(llama, direction, alphas, mode=mode):
        got = wb.option_logprobs(llama, EVERY, SEVERAL)
    torch.testing.assert_close(got, torch.cat(expected), atol=5e-5, rtol=1e-5)


def test_an_option_may_begin_another(llama):
    """What goes on with the longer one goes on with the shorter."""
    got = wb.option_logprobs(llama, BEGUN, ("A", "AB", "ABA"))
    assert (got.diff(dim=1) < 0).all()


def test_options_of_several_tokens_that_do_not_fit(tiny):
    text = "(" * (tiny.context_length - 2)
    assert len(encode(tiny, text).ids) > tiny.context_length - 3
    with Counted(tiny) as counted, pytest.raises(ContextLengthError, match="prompt 1 with 'a b c"):
        wb.option_logprobs(tiny, ["Hello.", text], ["a b c d e", "a"])
    assert counted.forwards == 0
    with pytest.raises(ValueError, match="batch_size=0"):
        wb.option_logprobs(tiny, ["Hello."], ["a b c d e", "a"], batch_size=0)


def test_not_finite_names_the_prompt_of_an_option(tokenizer):
    model = not_finite_at("!", tokenizer, torch.nan)
    for options, name in ((LETTERS, "prompt 1"), (("AB", "B"), "prompt 1 with 'AB'")):
        with pytest.raises(GenerationError, match=rf"not finite in torch.bfloat16: {name}\."):
            wb.option_logprobs(model, ["Mend it.", "Curse it!", "No"], options)


def test_questions_of_one_token_refuse_an_option_of_several(llama):
    with Counted(llama) as counted, pytest.raises(ModelError, match=r"'BB' is the tokens \["):
        ask(llama, BEGUN, ("A", "BB"))
    assert counted.forwards == 0


def test_an_option_that_does_not_fit_in_memory_is_named_with_its_prompt(llama):
    named = r"prompt \d with '(A|BB)'"
    with short_of_memory(llama, rows=0), pytest.raises(MemoryError, match=named):
        wb.option_logprobs(llama, BEGUN, ("A", "BB"))
