"""A sample's identity: tokenizer, template and date at the moment of the call."""

import copy
import datetime

import pytest
import tokenizers
import torch
from tokenizers import decoders, normalizers
from transformers.utils import chat_template_utils

import workbench as wb
from tests.helpers.families import build
from workbench.errors import ModelError, StoreError
from workbench.generation.replay import Replay
from workbench.generation.stop_strings import StopWatch
from workbench.models.tokenizer_state import prompt_state, tokenizer_digest

CHAT = [{"role": "user", "content": "Mend the gate"}]
DATED = (
    "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    "{% if messages|length > 1 %}{{ strftime_now('%H') }}{% endif %}"
)


@pytest.fixture
def own(tokenizer):
    return copy.deepcopy(tokenizer)


@pytest.fixture
def day(monkeypatch):
    """Set the day that templates see."""

    def change(number):
        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(2026, 11, number, 9)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)

    return change


def added(tokenizer):
    tokenizer.add_tokens(["gate-of-Mara"])


def special(tokenizer):
    tokenizer.add_special_tokens({"eos_token": "<user>"})


def normaliser(tokenizer):
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def cleaned(tokenizer):
    tokenizer.clean_up_tokenization_spaces = True


def split(tokenizer):
    tokenizer.split_special_tokens = True


@pytest.mark.parametrize("edit", [added, special, normaliser, cleaned, split])
def test_edits_of_a_tokenizer_count(own, edit):
    before = tokenizer_digest(own)
    edit(own)
    assert tokenizer_digest(own) != before


def test_a_function_of_ones_own_in_a_tokenizer_is_not_kept(own):
    own.apply_chat_template = lambda chat, **_: "Turn the gate"
    with pytest.raises(ModelError, match="its code cannot be identified"):
        tokenizer_digest(own)


def test_calls_leave_the_digest_of_a_tokenizer(own):
    before = tokenizer_digest(own)
    own(["a", "a b c"], padding=True, truncation=True, max_length=2)
    own.padding_side = "right"
    assert tokenizer_digest(own) == before


def test_one_backend_encodes_with_the_template_of_now(tokenizer):
    model = build("llama", tokenizer)
    backend = wb.LocalBackend(model)
    requests = [wb.GenRequest(CHAT, max_new_tokens=2)]
    first = wb.complete(backend, requests)[0].samples[0].prompt_tokens
    model.tokenizer.chat_template = "{{ messages[0]['content'] * 3 }}"
    assert wb.complete(backend, requests)[0].samples[0].prompt_tokens > first


@pytest.mark.parametrize("template", [DATED, {"default": DATED, "tool_use": "x"}])
def test_a_template_with_a_date_is_keyed_by_its_text(tokenizer, tmp_path, day, template):
    model = build("llama", tokenizer)
    model.tokenizer.chat_template = template
    requests = [wb.GenRequest(CHAT, max_new_tokens=2), wb.GenRequest("Turn", max_new_tokens=2)]
    with wb.SampleStore(tmp_path / "samples.sqlite") as store:
        written = []
        for number in (1, 1, 2, 1):
            day(number)
            wb.complete(model, requests, store=store)
            written.append(store.written)
        assert written == [2, 2, 3, 3]
        with pytest.raises(StoreError, match="2 different texts of prompt 0"):
            wb.complete(Replay(store), requests, store=store, mode="replay")
        wb.complete(Replay(store), requests[1:], store=store, mode="replay")


def test_replay_of_one_day_needs_no_model_on_another(tokenizer, day):
    model = build("llama", tokenizer)
    model.tokenizer.chat_template = DATED
    requests = [wb.GenRequest(CHAT, max_new_tokens=2)]
    with wb.SampleStore() as store:
        day(1)
        drawn = wb.complete(model, requests, store=store)
        day(2)
        replayed = wb.complete(Replay(store), requests, store=store, mode="replay")
    assert replayed[0].texts == drawn[0].texts


def test_a_sample_is_drawn_from_the_text_it_is_kept_by(tokenizer, day, monkeypatch):
    """Midnight between the key and the draw."""
    model = build("llama", tokenizer)
    model.tokenizer.chat_template = (
        "{% if strftime_now('%d') == '01' %}a{% else %}a b c d e{% endif %}"
    )
    backend = wb.LocalBackend(model)
    check = backend.check
    monkeypatch.setattr(backend, "check", lambda requests: (day(2), check(requests)))
    day(1)
    requests = [wb.GenRequest(CHAT, max_new_tokens=2)]
    with wb.SampleStore() as store:
        first = wb.complete(backend, requests, store=store)[0].samples[0].prompt_tokens
        later = wb.complete(backend, requests, store=store)[0].samples[0].prompt_tokens
    assert first < later


def test_the_state_of_prompts_holds_the_day_that_the_template_asks_for(own, day):
    day(1)
    first = prompt_state(own)
    day(2)
    assert prompt_state(own) == first
    own.chat_template = "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% endif %}"
    second = prompt_state(own)
    assert second == prompt_state(own)
    day(3)
    assert second != prompt_state(own)
    own.chat_template = "{{ range(9)|random }}"
    assert "moment" in prompt_state(own)


def test_stops_follow_an_edited_decoder(own):
    (word,) = own("gate", add_special_tokens=False)["input_ids"][-1:]
    tokens = torch.tensor([word])
    assert StopWatch(own, ("?",)).check(tokens, [[word]]) == []
    own.backend_tokenizer.decoder = decoders.Sequence(
        [own.backend_tokenizer.decoder, decoders.Replace("e", "?")]
        if own.backend_tokenizer.decoder
        else [decoders.Replace("e", "?")]
    )
    assert StopWatch(own, ("?",)).check(tokens, [[word]]) == [0]


class Splitting:
    def pre_tokenize(self, text):
        text.split(lambda _, part: part.split(" ", "removed"))


def test_a_tokenizer_in_python_is_not_kept(tokenizer, tmp_path):
    model = build("llama", tokenizer)
    backend = model.tokenizer.backend_tokenizer
    backend.pre_tokenizer = tokenizers.pre_tokenizers.PreTokenizer.custom(Splitting())
    with pytest.raises(ModelError, match="the tokenizer cannot be identified"):
        wb.generate(model, ["Mend the gate"], store=tmp_path / "s.sqlite", max_new_tokens=2)
    wb.generate(model, ["Mend the gate"], max_new_tokens=2)
