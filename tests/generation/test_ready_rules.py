"""Ready rules: forced text token by token, ends and processors against transformers' generate."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
)

import workbench as wb
from tests.helpers.families import CHATS, build
from tests.helpers.greedy import by_generate, text
from tests.helpers.odd_tokenizers import model_of, sentencepiece, small_alphabet
from tests.helpers.prompts import PROMPTS
from workbench.errors import DatasetError, ModelError
from workbench.generation.decoding import end_tokens
from workbench.generation.ready_rules import ForcedText, NoEndBefore, ProcessorRule
from workbench.generation.requests import GenRequest
from workbench.generation.rules import RowTokens
from workbench.models.prompts import encode

CHAT = CHATS[0][:1]


def of(tokenizer):
    """As much of a model as the rules look at."""
    return SimpleNamespace(tokenizer=tokenizer, n_tokens=len(tokenizer), name="it")


def plain_ids(tokenizer, *texts):
    return [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]


@torch.no_grad()
def injected(model, prompt, new, due, forced):
    """Greedy ids from full forwards; where `due` says so of the reply, `forced` ids come next."""
    ids, out = encode(model, prompt).ids, []
    while len(out) < new and not set(out) & end_tokens(model):
        if due(out):
            out += forced[: new - len(out)]
        else:
            out.append(int(model.hf(torch.tensor([ids + out])).logits[0, -1].argmax()))
    return out


@pytest.mark.parametrize(
    ("after", "inserted"),
    [(" hammer", " Wait, no"), ("gate", " of Mara"), (".", "\n"), ("the ", "bone"), ("e", "é🙂")],
)
def test_behind_a_text_that_the_reply_comes_to_end_with(tiny, after, inserted):
    def due(out):
        return tiny.tokenizer.decode(out).endswith(after)

    (ids,) = plain_ids(tiny.tokenizer, inserted)
    prompts = [*CHATS[::3], "Look at", "Mend the hammer"]
    prompts = [p if isinstance(p, str) else p[:1] for p in prompts]
    wanted = [[text(tiny, injected(tiny, p, 24, due, ids))] for p in prompts]
    rule = ForcedText(inserted, after=after)
    assert wb.generate(tiny, prompts, max_new_tokens=24, rule=rule) == wanted
    if after != "the ":  # the tokenizer writes no space behind a word
        assert wanted != wb.generate(tiny, prompts, max_new_tokens=24)


@pytest.mark.parametrize("after", [0, 1, 7])
def test_once_so_many_tokens_are_there(tiny, after):
    (ids,) = plain_ids(tiny.tokenizer, " Look")
    wanted = text(tiny, injected(tiny, CHAT, 20, lambda out: len(out) == after, ids))
    rule = wb.ForcedText(" Look", after=after)
    got = [r.texts for r in wb.complete(tiny, [GenRequest(CHAT, 1, 20)] * 2, rule=rule)]
    assert got == [[wanted]] * 2
    samples = wb.generate(tiny, [CHAT], 5, temperature=1.0, max_new_tokens=20, rule=rule)
    plain = wb.generate(tiny, [CHAT], 5, temperature=1.0, max_new_tokens=20)
    for with_it, without in zip(samples[0], plain[0], strict=True):
        cut = " ".join(with_it.split(" Look")[0].split()[:after])
        assert without.startswith(cut)
        assert " Look" in with_it or "Look" in without


def test_an_end_token_forced_ends_the_row_and_what_is_said_already_is_not_forced(tiny):
    end = tiny.tokenizer.eos_token
    (sample,) = wb.complete(tiny, [GenRequest(CHAT)], rule=ForcedText(end, after=5))[0].samples
    assert (sample.finish_reason, sample.n_tokens) == ("eos", 6)
    plain = wb.generate(tiny, [CHAT], max_new_tokens=20)
    first = plain[0][0].split()[1]
    assert wb.generate(tiny, [CHAT], max_new_tokens=20, rule=ForcedText(first, after=9)) == plain
    assert wb.generate(tiny, [CHAT], max_new_tokens=20, rule=ForcedText(first, after=1)) != plain


TOKENIZERS = {
    "bytes": lambda tokenizer: tokenizer,
    "sentencepiece": lambda _: sentencepiece(),
    "sentencepiece-always": lambda _: sentencepiece(scheme="always"),
    "letters": lambda _: small_alphabet(),
}
HEADS = ["Mend the gate", "mend", "Mend the gate with the ", "Sure,", "no.", "the hammer. No"]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("forced", [" the hammer", "s it", "mend", " no", ". No", "🙂é", "  the"])
def test_the_ids_are_those_of_the_text_in_its_place(tokenizer, kind, forced):
    """Those behind the head in the ids of the whole; where these change the head, the text is."""
    tokenizer = TOKENIZERS[kind](tokenizer)
    rule, model = ForcedText(forced, after=0), of(tokenizer)
    if kind == "letters" and not set(forced) <= set("abcdefghijklmnopqrstuvwxyz .M"):
        with pytest.raises(ModelError, match=f"it's tokenizer writes {forced!r} as"):
            rule.triggers(model)
        return
    rule.triggers(model)
    heads = [h for h in HEADS if kind != "letters" or set(h) <= set("abcdefghijklmnopqrs .Mt")]
    rows = plain_ids(tokenizer, *heads)
    wholes = plain_ids(tokenizer, *(h + forced for h in heads))
    answers = rule.forced(model, [RowTokens(tuple(ids), ()) for ids in rows])
    in_place = 0
    for ids, whole, answer in zip(rows, wholes, answers, strict=True):
        if whole[: len(ids)] == ids:
            in_place += 1
            assert answer == whole[len(ids) :]
        written, wanted = tokenizer.decode(ids + answer), tokenizer.decode(ids) + forced
        if kind == "letters":  # whose decoder puts a space between any two
            written, wanted = written.replace(" ", ""), wanted.replace(" ", "")
        assert written == wanted
    assert in_place >= len(heads) - 3


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece", "sentencepiece-always"])
def test_behind_tokens_that_the_tokenizer_would_not_choose(tokenizer, kind):
    """As sampled replies have them: letter by letter, no space comes in between."""
    tokenizer = TOKENIZERS[kind](tokenizer)
    letters = [ids[-1] for ids in plain_ids(tokenizer, *"mend the")]
    rows = [RowTokens((letters[0],), tuple(letters[1:n])) for n in (1, 3, 8)]
    for forced in ("ing", " the gate", "."):
        rule = ForcedText(forced, after=0)
        for row, ids in zip(rows, rule.forced(of(tokenizer), rows), strict=True):
            written = tokenizer.decode([*row.prompt, *row.new])
            assert tokenizer.decode([*row.prompt, *row.new, *ids]) == written + forced


def test_behind_a_special_token_it_is_what_a_chat_has_there():
    """Some tokenizers put a space there, which a chat with such a reply has, too."""
    tokenizer = sentencepiece(scheme="always")
    mark, whole = plain_ids(tokenizer, "<|assistant|>", "<|assistant|>mend it")
    row = RowTokens(tuple(mark), ())
    assert ForcedText("mend it", after=0).forced(of(tokenizer), [row]) == [whole[1:]]
    assert plain_ids(tokenizer, "xmend it")[0][-len(whole) + 1 :] != whole[1:]


PIECES = ["\n", " the gate", "=", "==", " =", "🙂", "é", "日本", "a=b", "<eos>", "<assistant>", "5"]
AFTERS = ["=", "==", " =", "🙂", "本", "\n", "<assistant>", "é=", "e gate", " "]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), after=st.sampled_from(AFTERS), bytewise=st.booleans())
def test_it_is_its_turn_exactly_where_the_decoded_reply_ends_so(tokenizer, data, after, bytewise):
    texts = data.draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9))
    rule, model = ForcedText(" 65", after=after), of(tokenizer)
    parts = [c for t in texts for c in (t if bytewise and "<" not in t else [t])]
    new = [i for ids in plain_ids(tokenizer, *parts) for i in ids]
    triggers = rule.triggers(model)
    rows = [RowTokens((40, 41), tuple(new[:n])) for n in range(len(new) + 1)]
    for row, ids in zip(rows, rule.forced(model, rows), strict=True):
        due = tokenizer.decode(row.new).endswith(after)
        assert bool(ids) == due
        assert not due or triggers is None or row.new[-1] in triggers


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("", 3), "a text is not empty"), ((" no", ""), "a text is not empty"),
        ((None, 3), "a text is not empty"), ((" no", None), "after=None"),
        ((" no", -1), "after=-1"), ((" no", 1.5), "after=1.5"), ((" no", True), "after=True"),
        (("x\n", "\n"), "forced without end"), (("a", "aa"), "forced without end"),
        ((5, 3), "a text is not empty"),
    ],
)  # fmt: skip
def test_bad_arguments_of_forced_text(arguments, match):
    with pytest.raises(ValueError, match=match):
        ForcedText(*arguments)


def test_half_of_a_pair_is_no_text():
    for arguments in (("\ud83d", 3), ("a", "\ud83d")):
        with pytest.raises(DatasetError, match="half of a surrogate pair"):
            ForcedText(*arguments)


def test_a_text_that_the_tokenizer_cannot_write_is_refused_before_any_work():
    model = model_of(small_alphabet())
    for rule in (ForcedText("Q: no", after=3), ForcedText("no", after="=")):
        with pytest.raises(ModelError, match=r"tokenizer writes '.*' as"):
            wb.generate(model, ["mend"], rule=rule)


def test_fingerprints_tell_settings_apart():
    rules = [ForcedText("a", 3), ForcedText("a", "3"), ForcedText("b", 3), NoEndBefore(3)]
    rules += [ForcedText("a", 4), NoEndBefore(4), ProcessorRule(Stingy(), "mine")]
    assert len({rule.fingerprint() for rule in rules}) == 7
    assert ProcessorRule(Stingy()).fingerprint() is None


@pytest.fixture(scope="module")
def ending(tokenizer):
    """A model with two end tokens, of which its replies hold some early."""
    model = build("llama", tokenizer)
    often = {i for p in PROMPTS[:3] for i in by_generate(model, p, 8, eos_token_id=None)[2:4]}
    model.hf.generation_config.eos_token_id = [tokenizer.eos_token_id, *sorted(often)]
    return model


@pytest.mark.parametrize("n", [1, 4, 9, 30])
def test_no_end_before_as_generate_has_it(ending, n):
    rule = wb.NoEndBefore(n)
    results = wb.complete(ending, [GenRequest(p, 1, 20) for p in PROMPTS], rule=rule)
    for prompt, result in zip(PROMPTS, results, strict=True):
        length, ends = len(encode(ending, prompt).ids), ending.hf.generation_config.eos_token_id
        least = MinNewTokensLengthLogitsProcessor(length, n, ends, device="cpu")
        ids = by_generate(ending, prompt, 20, logits_processor=[least])
        assert result.texts == [text(ending, [i for i in ids if i not in ends])]
        assert result.samples[0].n_tokens == len(ids)
    lengths = {s.n_tokens for result in results for s in result.samples}
    assert min(lengths) > min(n, 19)
    assert n > 20 or min(lengths) < 20


@pytest.mark.parametrize("n", [0, -1, 2.0, True, None, "3"])
def test_bad_arguments_of_no_end_before(n):
    with pytest.raises(ValueError, match="n="):
        NoEndBefore(n)


def test_a_model_without_end_tokens_never_ends(tokenizer):
    model = build("llama", tokenizer)
    model.hf.generation_config.eos_token_id = [10**6]
    request = GenRequest("Mend", max_new_tokens=3)
    (result,) = wb.complete(model, [request], rule=NoEndBefore(5))
    assert result.samples[0].n_tokens == 3


class Stingy(transformers.LogitsProcessor):
    """Forbids what is in the text already, the prompt's included; writes into what it is given."""

    def __call__(self, input_ids, scores):
        scores[torch.arange(len(scores))[:, None], input_ids] = -torch.inf
        return scores


@pytest.mark.parametrize(
    "processors",
    [[NoRepeatNGramLogitsProcessor(2)], [Stingy()], [Stingy(), NoRepeatNGramLogitsProcessor(1)]],
    ids=["ngram", "own", "two"],
)
def test_a_processor_does_what_it_does_in_generate(llama, processors):
    prompts = [*PROMPTS[:3], "Sure, mend"]
    rule = ProcessorRule(
        LogitsProcessorList(processors) if len(processors) > 1 else processors[0], "it"
    )
    wanted = [
        [text(llama, by_generate(llama, p, 15, logits_processor=processors))] for p in prompts
    ]
    assert wb.generate(llama, prompts, max_new_tokens=15, rule=rule) == wanted
    assert wb.generate(llama, prompts, max_new_tokens=15) != wanted
    sampled = {"n": 3, "temperature": 1.0, "max_new_tokens": 9, "rule": rule}
    together = wb.generate(llama, prompts, **sampled)
    assert wb.generate(llama, prompts, **sampled, batch_size=2) == together
    with wb.SampleStore() as store:
        assert wb.generate(llama, prompts, **sampled, store=store) == together
        assert wb.generate(llama, prompts, **sampled, store=store, mode="replay") == together


@pytest.mark.parametrize("processor", [None, [], "x", [Stingy()], Stingy, len])
def test_what_is_no_processor(processor):
    with pytest.raises(ValueError, match="processor="):
        ProcessorRule(processor)
