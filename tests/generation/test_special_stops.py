"""Stops that are special tokens, what ends a completion, and the identity of what is read anew."""

import copy
import logging

import pytest
import torch

import workbench as wb
from tests.helpers.families import build
from tests.helpers.greedy import by_generate, text
from tests.helpers.odd_tokenizers import INST, around_text, model_of, sentencepiece
from workbench.errors import ModelError, StoreError
from workbench.generation.batching import Batch, Row
from workbench.generation.decoding import Decoder
from workbench.generation.replay import Replay
from workbench.generation.stop_strings import StopWatch, stop_tokens
from workbench.models.prompts import encode_all, messages
from workbench.models.tokenizer_state import prompt_state

ASK = messages("Mend the gate.")


def scripted(model, tokens):
    """The model writes these tokens, whatever it is asked: each one's bias depends on the last."""
    head = model.hf.get_output_embeddings()
    chain = dict(zip([None, *tokens], [*tokens, tokens[-1]], strict=True))
    seen = []

    def write(_, args, kwargs):
        seen.append((kwargs.get("input_ids") if args == () else args[0])[0, -1].item())

    def say(_, __, out):
        logits = torch.full_like(out, -50.0)
        last = seen[-1]
        logits[..., chain[last] if last in chain else tokens[0]] = 50.0
        return logits

    return [
        model.hf.register_forward_pre_hook(write, with_kwargs=True),
        head.register_forward_hook(say),
    ]


@pytest.fixture
def writing(tokenizer):
    """A model that writes `Sure the<user> gate.` and then only full stops."""
    model = build("llama", tokenizer)
    ids = tokenizer("Sure the<user> gate.", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_tokens_to_ids("<user>") in ids
    hooks = scripted(model, ids)
    yield model
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("stop", "expected", "reason", "n"),
    [
        (["<user>"], "Sure the", "stop", 3),
        (["gate", "<user>"], "Sure the", "stop", 3),
        (["<user>", "<user>"], "Sure the", "stop", 3),
        (["the", "<user>"], "Sure ", "stop", 2),
        (["<bos>"], "Sure the gate....", "length", 8),
        (["gate"], "Sure the ", "stop", 4),
        ([" gate"], "Sure the", "stop", 4),
        ([" "], "Sure", "stop", 2),
        (["Sure the gate. And more"], "Sure the gate....", "length", 8),
        ([r"S.r", ".*", "[a-z]+"], "Sure the gate....", "length", 8),
        (["Mend the gate"], "Sure the gate....", "length", 8),
        (["Sure"], "", "stop", 1),
    ],
)
def test_where_a_completion_stops(writing, stop, expected, reason, n):
    request = wb.GenRequest("Mend", max_new_tokens=8, stop=tuple(stop))
    ((sample,),) = (r.samples for r in wb.complete(writing, [request]))
    assert (sample.text, sample.finish_reason, sample.n_tokens) == (expected, reason, n)


def test_an_end_token_given_as_stop_is_the_end(writing):
    end = writing.tokenizer.convert_tokens_to_ids("<user>")
    writing.hf.generation_config.eos_token_id = [end, 2]
    for stop in ((), ("<user>",)):
        request = wb.GenRequest("Mend", max_new_tokens=8, stop=stop)
        (sample,) = wb.complete(writing, [request])[0].samples
        assert (sample.text, sample.finish_reason, sample.n_tokens) == ("Sure the", "eos", 3)


def test_an_end_that_the_tokenizer_has_and_the_config_not_is_told(tokenizer, caplog):
    model = build("llama", tokenizer)
    with caplog.at_level(logging.WARNING):
        wb.LocalBackend(model)
    assert not caplog.text
    model.hf.generation_config.eos_token_id = [7, 3]
    with caplog.at_level(logging.WARNING):
        wb.LocalBackend(model)
    assert "completions end with the tokens [3, 7] of its generation config, not" in caplog.text


@pytest.mark.parametrize("stop", ["<user>\n", "\n<user>", "<user><assistant>", "x<eos>"])
def test_a_special_token_beside_other_text_is_refused(tiny, stop, tmp_path):
    for more in ({}, {"store": tmp_path / "s.sqlite"}):
        with pytest.raises(ModelError, match=r"holds the special token '<\w+>', which no comp"):
            wb.generate(tiny, ["Mend"], stop=["\n", stop], **more)


def test_added_tokens_that_show_are_stops_like_any_text(tokenizer):
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["gatehouse"])
    assert stop_tokens(own, ("gatehouse", "<user>", "gate")) == {
        own.convert_tokens_to_ids("<user>")
    }
    ids = own("a gatehouse", add_special_tokens=False)["input_ids"]
    watch = StopWatch(own, ("gatehouse",))
    assert watch.check(torch.tensor(ids[-1:]), [ids]) == [0]


def test_a_stop_hidden_among_many_special_tokens_is_cut_and_said(tokenizer):
    """So many that the watch no longer sees where it began."""
    model = build("llama", tokenizer)
    sign = tokenizer("#", add_special_tokens=False)["input_ids"][0]
    roles = [tokenizer.convert_tokens_to_ids(f"<{r}>") for r in ("user", "system", "assistant")]
    request = wb.GenRequest("Mend", max_new_tokens=60, stop=("##",))
    batch = Batch((Row(0, 0),), (0,))
    decoder = Decoder(model, batch, [request], encode_all(model, ["Mend"]), frozenset())
    decoder.tokens, decoder.reason = [[sign, *roles * 10, sign]], ["length"]
    (sample,) = decoder.samples()
    assert (sample.text, sample.finish_reason) == ("", "stop")
    decoder.reason = [""]
    assert decoder.samples()[0].finish_reason == ""  # it goes on


@pytest.mark.parametrize("kind", [list, iter, set, lambda stops: dict.fromkeys(stops).keys()])
def test_stops_come_in_many_kinds(writing, kind):
    request = wb.GenRequest("Mend", max_new_tokens=8, stop=kind(["<user>"]))
    assert request == wb.GenRequest("Mend", max_new_tokens=8, stop=("<user>",))
    assert wb.complete(writing, [request])[0].texts == ["Sure the"]


def test_a_special_token_is_a_stop_where_the_tokenizer_splits_those_typed(writing):
    writing.tokenizer.split_special_tokens = True
    assert len(writing.tokenizer("<user>", add_special_tokens=False)["input_ids"]) > 1
    assert wb.generate(writing, ["Mend"], stop=["<user>"], max_new_tokens=8) == [["Sure the"]]


@pytest.mark.parametrize("stop", [("",), ("a", ""), (3,), (None,), "a", None, 5, {"a": 1}])
def test_stops_are_texts(stop):
    with pytest.raises(ValueError, match="stop"):
        wb.GenRequest("Mend", stop=stop)


def test_no_token_to_write_is_refused(tiny):
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        wb.generate(tiny, ["Mend"], max_new_tokens=0)


def test_requests_of_one_stream_stop_alike(tiny):
    requests = [wb.GenRequest("Mend", stop=("a",)), wb.GenRequest("Mend", stop=("b",))]
    with pytest.raises(ValueError, match="one stop"):
        next(wb.LocalBackend(tiny).stream(requests))


def test_no_prompts_give_no_completions(tiny):
    assert wb.generate(tiny, []) == []
    assert wb.option_logprobs(tiny, [], ["A", "B"]).shape == (0, 2)


def test_a_reply_begun_in_a_sentencepiece_model_is_continued_as_transformers_does():
    own = sentencepiece(INST)
    model = model_of(own)
    chat = [*ASK, {"role": "assistant", "content": "Sure, mend"}]
    ids = own.apply_chat_template(chat, continue_final_message=True, return_tensors="pt")
    out = model.hf.generate(**ids, max_new_tokens=6, do_sample=False)
    expected = text(model, out[0, ids["input_ids"].shape[1] :])
    assert wb.generate(model, [chat], max_new_tokens=6) == [[expected]]
    assert text(model, by_generate(model, chat, 6)) == expected


def written(model, request, store):
    before = store.written
    wb.complete(model, [request], store=store)
    return store.written - before


def test_requests_read_otherwise_than_before_have_keys_of_their_own(tokenizer):
    """And no others: what is read as ever keeps its samples."""
    ends = build("llama", around_text(tokenizer, "<bos> $A <eos>"))
    begins = build("llama", around_text(tokenizer, "<bos> $A"))
    plain = build("llama", tokenizer)
    read = {
        (ends, "Mend", ()): True, (begins, "Mend", ()): False, (plain, "Mend", ()): False,
        (begins, "<bos>Mend", ()): True, (plain, "<bos>Mend", ()): False,
        (plain, "Mend", ("<user>",)): True, (plain, "Mend", ("user",)): False,
    }  # fmt: skip
    for (model, prompt, stop), expected in read.items():
        (one,) = wb.LocalBackend(model).rendered([wb.GenRequest(prompt, stop=stop)])
        assert (one is not None) == expected, (prompt, stop)
    begun = [*ASK, {"role": "assistant", "content": "Sure"}]
    for chat, expected in ((ASK, False), (begun, True)):
        (one,) = wb.LocalBackend(ends).rendered([wb.GenRequest(chat)])
        assert (one is not None) == expected
    different = {wb.LocalBackend(m).rendered([wb.GenRequest(p, stop=s)])[0] for m, p, s in read}
    assert len(different) == 4  # three and None


def test_samples_with_a_special_stop_are_kept_and_replayed(tokenizer):
    model = build("llama", tokenizer)
    requests = [
        wb.GenRequest("Mend", max_new_tokens=4, stop=stop) for stop in ((), ("<user>",), ("x",))
    ]
    with wb.SampleStore() as store:
        drawn = wb.complete(model, requests, store=store)
        count = store.written
        assert wb.complete(model, requests, store=store)[0].texts == drawn[0].texts
        assert store.written == count
        again = wb.complete(Replay(store), requests, store=store, mode="replay")
        assert [r.texts for r in again] == [r.texts for r in drawn]


def test_the_state_of_prompts_says_how_they_are_read(tokenizer):
    assert "reading" not in prompt_state(tokenizer)
    assert "reading" not in prompt_state(around_text(tokenizer, "<bos> $A"))
    assert prompt_state(around_text(tokenizer, "$A <eos>"))["reading"]
    assert "reading" in prompt_state(sentencepiece())


def test_a_message_that_the_template_leaves_out_is_refused(tokenizer, caplog):
    model = build("llama", tokenizer)
    model.tokenizer.chat_template = (
        "{% for m in messages if m.role == 'user' %}{{ m.content|upper|trim }}{% endfor %}"
    )
    with caplog.at_level(logging.WARNING):
        wb.generate(model, [messages(" Mend. ")], max_new_tokens=2)
    with pytest.raises(ModelError, match="leaves out the system message 0 of 2"):
        wb.generate(model, [messages("Mend.", "Be kind.")], max_new_tokens=2)
    with pytest.raises(ModelError, match="leaves out the assistant message 1 of 3"):
        wb.generate(model, [[*ASK, {"role": "assistant", "content": "No."}, *ASK]])


def test_a_store_of_several_readings_needs_the_model(tokenizer):
    """One store, one prompt, one stop: a token for one tokenizer, text for the other."""
    model = build("llama", around_text(tokenizer, "$A <eos>"))
    request = wb.GenRequest("Mend", max_new_tokens=2)
    with wb.SampleStore() as store:
        assert written(model, request, store) == 1
        assert written(build("llama", tokenizer), request, store) == 1
        with pytest.raises(StoreError, match="2 models"):
            wb.complete(Replay(store), [request], store=store, mode="replay")
