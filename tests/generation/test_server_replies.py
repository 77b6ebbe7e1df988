"""What is an answer in a server's reply, what is none, and which counts are believed."""

import json

import pytest

from tests.helpers.raw_server import said
from tests.helpers.scripted_server import PROMPTS, drawn, kept_before, warnings
from tests.helpers.scripted_server import said as answering
from workbench.errors import GenerationError
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import GenRequest
from workbench.generation.sample_store import SampleStore
from workbench.generation.server_replies import listed, read

REQUEST = GenRequest("Hello", n=2, max_new_tokens=8, temperature=1.0)


def reply(content, asked=1):
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read(raw, REQUEST, "m", asked)


def chat(content="one", reason="stop", **more):
    return {
        "choices": [{"message": {"content": content, **more}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3},
    }


NO_ANSWERS = {
    **{
        f"finish {reason!r}": said(finish_reason=reason)
        for reason in ("content_filter", "tool_calls", "function_call", "error", "abort", None, 3,
                       "", [], {}, True, "insufficient_system_resource")
    },
    **{
        f"{name}, {reason}": chat("", reason, **{name: thoughts})
        for name in ("reasoning", "reasoning_content", "reasoning_details", "reasoning_text",
                     "thinking", "thoughts_2027")
        for thoughts in ("hm", [{"text": "hm"}], {"text": "hm"})
        for reason in ("stop", "length")
    },
    **{
        f"{name} {value!r}": said(**{name: value})
        for name, value in (
            ("native_finish_reason", "error"), ("native_finish_reason", "SAFETY"),
            ("content_filter_results", {"hate": {"filtered": True, "severity": "high"}}),
            ("content_filter_result", {"filtered": True}), ("errors", ["busy"]),
        )
    },
    "filtered prompt": {
        **said(),
        "prompt_filter_results": [{"content_filter_results": {"jailbreak": {"filtered": True}}}],
    },
    "thinking beside an empty part": chat(
        [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ""}]
    ),
    "reasoning of the choice": said("", thinking="hm"),
    "sound": chat("", audio={"data": "x"}),
    "refusal": chat(refusal="I cannot"),
    "refusal beside null": chat(None, refusal="I cannot"),
    "tool call under stop": chat(tool_calls=[{"id": "a"}]),
    "function call under stop": chat(function_call={"name": "a"}),
    "null": chat(None),
    "null text": said(None),
    "no content": {"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]},
    "only reasoning": chat("", "length", reasoning_content="Let me see"),
    "only reasoning, stopped": chat("", "stop", reasoning="Let me see"),
    "cut before any text": chat("", "length"),
    "an image": chat([{"type": "image_url", "image_url": {}}]),
    "text and an image": chat([{"type": "text", "text": "a"}, {"type": "image_url"}]),
    "no parts": chat([]),
    "only thinking": chat([{"type": "thinking", "thinking": []}]),
    "error of the choice": said(error={"message": "upstream"}),
}  # fmt: skip


@pytest.mark.parametrize("content", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_holds_no_answer(content):
    assert set(reply(content).refusals) == {0}
    assert not reply(content).answers


STOPS = ("stop", "eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE", "STOP")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (said(), "one"), (said(""), ""), (said(" \n"), " \n"), (chat(), "one"),
        (chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab"),
        (chat([{"type": "thinking", "thinking": []}, {"type": "text", "text": "b"}]), "b"),
        (chat(reasoning_content="hm"), "one"), (chat(tool_calls=[], refusal=None), "one"),
        (said(message=None), "one"), (said(message={"content": "one"}), "one"),
        (said("\ud800"), "\ud800"), (b"\xef\xbb\xbf" + json.dumps(said()).encode(), "one"),
        ({**said(), "error": None, "errors": []}, "one"),
        ({**said(), "status": "completed", "object": "text_completion"}, "one"),
        *((said("", finish_reason=reason), "") for reason in STOPS),
        (chat("", refusal=None, annotations=[], audio=None, tool_calls=[], reasoning=""), ""),
        (said("", logprobs={"tokens": []}, token_ids=[2], seed=3, stop_reason="</s>"), ""),
        (said(content_filter_results={"hate": {"filtered": False}}), "one"),
        (said(native_finish_reason="STOP"), "one"),
    ],
)  # fmt: skip
def test_what_is_an_answer(content, text):
    assert reply(content).answers[0].text == text


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_names_of_the_end_at_the_limit(reason):
    assert reply(said(finish_reason=reason)).answers[0].reason == "length"
    assert reply(said("", finish_reason=reason)).refusals


def indexed(*indices):
    choices = [said(f"t{i}", index=i)["choices"][0] for i in indices]
    return {"choices": choices}


MALFORMED = {
    "deep": b"[" * 100_000, "deep object": b'{"a":' * 100_000, "empty": b"", "space": b"  ",
    "html": b"<html>", "events": b'data: {"choices": []}\n\n', "no UTF-8": b'{"choices": "\xff"}',
    "UTF-16": json.dumps(said()).encode("utf-16"), "long int": b'{"choices": ' + b"1" * 5000 + b"}",
    "cut": json.dumps(said()).encode()[:-3], "two": b"{}{}",
    "key twice": b'{"choices": [{"text": "a", "text": "b", "finish_reason": "stop"}]}',
    "error": {**said(), "error": {"message": "busy"}}, "array": [], "null": None, "text": "a",
    "errors": {**said(), "errors": ["busy"]}, "failed": {**said(), "status": "failed"},
    "incomplete": {**said(), "status": "incomplete"}, "called error": {**said(), "object": "error"},
    "no choices": {"choices": []}, "choices null": {"choices": None},
    "choices an object": {"choices": {"0": {}}}, "choice null": {"choices": [None]},
    "text a number": said(3), "text an object": said({}), "message a string": said(message="one"),
    "two texts": said(message={"content": "two"}), "neither": {"choices": [{}]},
    "negative": indexed(-1), "twice": indexed(0, 0),
    "twice, with other texts": {"choices": [said(t)["choices"][0] for t in "ab"]},
    "string": indexed("0"), "bool": indexed(True),
    "float": indexed(0.0), "one missing": indexed(0, None), "none asked for": indexed(7),
    "NaN": b'{"choices": [{"text": NaN, "finish_reason": "stop"}]}',
}  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_reply_at_all(content):
    with pytest.raises(ValueError, match=r"\w"):
        reply(content)


def test_choices_go_to_their_index():
    assert {i: a.text for i, a in reply(indexed(1, 0), 2).answers.items()} == {0: "t0", 1: "t1"}
    assert set(reply(indexed(0, 2), 3).answers) == {0, 2}
    assert set(reply(indexed(0, 1, 2), 2).answers) == {0, 1}
    assert set(reply(indexed(None, None), 2).answers) == {0, 1}


COUNTS = [-5, 0, 9, 10**30, 1e30, 3.0, float("nan"), float("inf"), "3", True, [3], {"a": 3}, None]


@pytest.mark.parametrize("count", COUNTS, ids=repr)
def test_counts_that_cannot_be_true(count):
    content = said("x" * 15)
    for name, most, estimate in (("completion_tokens", 8, 4), ("prompt_tokens", 4106, 2)):
        wrong = most + 1 if count == 9 else count
        content["usage"] = {"prompt_tokens": 2, "completion_tokens": 3, name: wrong}
        got = reply(content)
        assert set(got.doubts) == {name}
        counts = {
            "completion_tokens": got.answers[0].n_tokens, "prompt_tokens": got.prompt_tokens
        }  # fmt: skip
        assert counts == {"prompt_tokens": 2, "completion_tokens": 3, name: estimate}
        content["usage"][name] = most
        assert not reply(content).doubts


@pytest.mark.parametrize("usage", [None, [], "a", 3, {"completion_tokens_details": {}}])
def test_usage_that_is_none(usage):
    got = reply({**said("x" * 15), "usage": usage})
    assert (got.answers[0].n_tokens, got.prompt_tokens, len(got.doubts)) == (4, 2, 2)


def test_a_doubt_is_told_once(script, caplog):
    server = script(answering("a", tokens=10**30))
    drawn(Endpoint(server.url), [GenRequest(prompt) for prompt in PROMPTS])
    (warning,) = warnings(caplog)
    assert "completion_tokens=1000000000" in warning


def test_another_model_is_told_once(script, caplog):
    for named, told in (("m-2024", 0), ("other\x1b[2J", 1)):
        caplog.clear()

        def answer(call, named=named):
            status, content, headers = answering()(call)
            return status, {**content, "model": named}, headers

        drawn(Endpoint(script(answer).url), [GenRequest(prompt) for prompt in PROMPTS])
        assert len(warnings(caplog)) == told
    assert r"other\x1b[2J" in warnings(caplog)[0]


@pytest.mark.parametrize("status", [200, 400])
def test_a_filtered_sample_does_not_end_the_run(script, status):
    def answer(call):
        if call["prompt"] != PROMPTS[0]:
            return answering()(call)
        if status == 200:
            return answering(reason="content_filter")(call)
        return status, {"error": {"message": "Filtered.", "code": "content_filter"}}, {}

    server = script(answer)
    requests = [GenRequest(prompt) for prompt in PROMPTS]
    why = r"request 0: http.*sample 0.*rephrase the prompt or leave it out.*stored"
    kept = kept_before(GenerationError, why, Endpoint(server.url, concurrency=1), requests)
    assert set(kept) == {1, 2, 3}
    assert len(server.calls) == 4


def test_a_server_that_never_answers_is_not_asked_for_ever(script):
    server = script(answering(reason="error"))
    requests = [GenRequest(f"p{i}") for i in range(200)]
    assert not kept_before(GenerationError, "nor", Endpoint(server.url), requests)
    assert len(server.calls) < 60


def test_lone_surrogates(script):
    half = "a \ud800 b"
    endpoint = Endpoint(script(answering(half)).url)
    (sample,) = drawn(endpoint, [GenRequest("Hello")]).values()
    assert sample.text == half
    for bad in (GenRequest(half), GenRequest("a", stop=(half,)),
                GenRequest([{"role": "user", "content": half}])):  # fmt: skip
        with pytest.raises(GenerationError, match=r"request 1 holds '\\ud800', half of"):
            endpoint.check([GenRequest("Hello"), bad])
    error = {"error": {"message": half}}
    with pytest.raises(GenerationError, match=r"a \\ud800 b"):
        drawn(Endpoint(script(lambda call: (400, error, {})).url), [GenRequest("Hello")])


def test_hostile_listings(script):
    many = b'{"data": [' + b",".join(b'{"id": "m%d"}' % i for i in range(10**5)) + b"]}"
    assert len(listed(many)) == 10**5
    with pytest.raises(GenerationError, match=r"lists 100000 models \(m0, .*, …\)") as caught:
        Endpoint(script(answering(), models=(200, many, {})).url).check([REQUEST])
    assert len(str(caught.value)) < 500
    names = ["ok", 3, None, {}, "", "ok"]
    assert Endpoint(script(answering(), models=names).url).name == "ok"
    for name, shown in (("\x1b[31mred", r"\\x1b\[31mred"), ("\ud800", r"\\ud800")):
        with pytest.raises(GenerationError, match=shown):
            Endpoint(script(answering(), models=[name]).url).check([REQUEST])
        with pytest.raises(ValueError, match="control characters"):
            Endpoint("http://host/v1", model=name)
    for bad in (b"[" * 10**5, b"{}", b'{"data": 3}', b'{"data": [3]}', b"\xff"):
        assert listed(bad) == []


def test_what_was_not_believed_is_not_stored(script, tmp_path):
    server = script(answering("a", tokens=-5))
    (sample,) = drawn(Endpoint(server.url), [GenRequest("Hello")]).values()
    with SampleStore(tmp_path / "s.sqlite") as store:
        store.put([("{}", "Hello", 0, sample, "")])
    assert sample.n_tokens == 1
