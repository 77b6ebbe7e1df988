"""Fields that a server refuses, contexts that it ends, and servers in trouble."""

import signal
import threading
import time

import pytest

from tests.helpers.scripted_server import (
    PROMPTS,
    SOON,
    drawn,
    kept_before,
    refusing,
    said,
    warnings,
)
from workbench.errors import ContextLengthError, GenerationError
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import GenRequest

REFUSALS = [
    ("n", 400, "Unsupported parameter: 'n' is not supported with this model.", {"param": "n"}),
    ("n", 500, "Only one completion choice is allowed", {}),
    ("n", 422, "n must be 1", {}),
    ("n", 400, "property 'n' is unsupported", {}),
    ("seed", 400, "Unrecognized request argument supplied: seed", {}),
    ("seed", 400, "This backend does not support seed", {}),
    ("stop", 400, "bad value", {"param": "stop"}),
    ("stop", 422, "too many entries in `stop`", {}),
    ("top_k", 400, "Unrecognized request argument supplied: top_k", {}),
    ("min_p", 400, "Unrecognized request arguments supplied: min_p", {}),
    ("top_p", 422, "Input validation error: `top_p` must be > 0.0 and < 1.0", {}),
    ("max_tokens", 400, "Unsupported parameter: 'max_tokens' is not supported with this model. "
     "Use 'max_completion_tokens' instead.", {"param": "max_tokens"}),
    ("repetition_penalty", 400, 'json: unknown field "repetition_penalty"', {}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "status", "message", "details"), REFUSALS)
def test_a_refused_field_is_dropped_and_no_other(script, caplog, field, status, message, details):
    server = script(refusing(status, message, field, **details))
    requests = [GenRequest(p, 3, temperature=1.0, stop=("2",)) for p in PROMPTS]
    found = drawn(Endpoint(server.url, concurrency=2, retries=0), requests)
    assert set(found) == {(i, k) for i in range(len(PROMPTS)) for k in range(3)}
    assert all("2" not in sample.text for sample in found.values())
    (warning,) = warnings(caplog)
    assert f"refuses {field};" in warning
    expected = {"n", "seed", "stop", "top_k", "min_p", "repetition_penalty"} - {field}
    answered = [body for body in server.bodies if field not in body]
    assert all(expected - {"n"} < set(body) for body in answered)
    size = "max_completion_tokens" if field == "max_tokens" else "max_tokens"
    assert all(body[size] == 64 for body in answered)
    assert all(body.get("n", 1) == (1 if field == "n" else 3) for body in answered)
    assert len(server.bodies) - len(answered) <= 2  # at most what was under way


def test_a_top_p_below_one_is_sent_to_a_server_that_refuses_one(script):
    def answer(call):
        message = "`top_p` must be > 0.0 and < 1.0"
        return (422, {"error": message}, {}) if call.get("top_p") == 1 else said()(call)

    server = script(answer)
    requests = [GenRequest("a", temperature=1.0), GenRequest("b", temperature=1.0, top_p=0.9)]
    assert len(drawn(Endpoint(server.url, concurrency=1), requests)) == 2
    assert [body.get("top_p") for body in server.bodies] == [1.0, None, 0.9]
    server = script(refusing(400, "'top_p' is not supported", "top_p"))
    with pytest.raises(GenerationError, match="top_p"):
        drawn(Endpoint(server.url), requests[1:])


def test_a_length_that_is_refused_is_not_given_up(script):
    message = "max_tokens is too large: 64. This model makes at most 32 completion tokens"
    server = script(refusing(400, message, "max_tokens", param="max_tokens"))
    with pytest.raises(GenerationError, match="too large"):
        drawn(Endpoint(server.url), [GenRequest("a")])


def test_fastapi_names_the_place_of_the_field(script, caplog):
    def answer(call):
        if "seed" not in call:
            return said()(call)
        detail = {"loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": call}
        return 422, {"detail": [detail]}, {}

    server = script(answer)
    drawn(Endpoint(server.url), [GenRequest("Hello", n=2, temperature=1.0, stop=("x",))])
    assert [set(a) - set(b) for a, b in zip(server.bodies, server.bodies[1:], strict=False)] == [
        {"seed"}
    ]
    assert len(warnings(caplog)) == 1


def test_n_ignored_without_a_word(script, caplog):
    server = script(said("one"))
    found = drawn(Endpoint(server.url), [GenRequest("Hello", n=4, temperature=1.0)])
    assert len(found) == len(server.calls) == 4
    assert len({body["seed"] for body in server.bodies}) == 4
    assert ["refuses n;" in warning for warning in warnings(caplog)] == [True]


@pytest.mark.parametrize(
    "message", ["Please stop sending so many seeds in a prompt of n words", "no\\n" + "x" * 600]
)
def test_a_refusal_that_names_no_field_is_final(script, message):
    server = script(refusing(400, message, "prompt"))
    with pytest.raises(GenerationError, match="refuses it with 400") as caught:
        drawn(Endpoint(server.url), [GenRequest("Hi", n=2, temperature=1.0, stop=("x",))])
    assert message[:300] in str(caught.value)
    assert message[:301] not in str(caught.value) or len(message) < 300
    assert len(server.calls) == 1


def test_a_top_k_that_is_asked_for_is_never_given_up(script):
    server = script(refusing(400, "unknown field `top_k`", "top_k"))
    requests = [GenRequest("a", temperature=1.0), GenRequest("b", temperature=1.0, top_k=40)]
    found = kept_before(GenerationError, "top_k=40", Endpoint(server.url, concurrency=1), requests)
    assert set(found) == {0}


@pytest.mark.parametrize(
    ("status", "message", "details", "tokens", "limit"),
    [
        (400, "This model's maximum context length is 512 tokens. However, you requested 664 "
         "tokens (600 in the messages, 64 in the completion).", {}, 600, 512),
        (400, "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum "
         "context length is 512 tokens and your request has 500 input tokens", {}, 500, 512),
        (400, "request (600 tokens) exceeds the available context size (512 tokens)", {}, 0, 512),
        (400, "too long", {"code": "context_length_exceeded"}, 0, 0),
    ],
)  # fmt: skip
def test_context_length(script, status, message, details, tokens, limit):
    def answer(call):
        if call["prompt"] == "b":
            return status, {"error": {"message": message, **details}}, {}
        return said()(call)

    server = script(answer)
    with pytest.raises(ContextLengthError, match="request 1 exceeds the context") as caught:
        drawn(Endpoint(server.url), [GenRequest("a"), GenRequest("b")])
    error = caught.value
    assert (error.prompt_tokens, error.limit, error.request) == (tokens, limit, 1)


def test_429_is_retried_when_the_server_says(script):
    def answer(call):
        if len(server.calls) < 3:
            return 429, {"error": {"message": "slow down"}}, {"Retry-After": "0.15"}
        return said()(call)

    server = script(answer)
    start = time.monotonic()
    assert drawn(Endpoint(server.url), [GenRequest("Hello")])
    assert len(server.calls) == 3
    assert 0.3 <= time.monotonic() - start < 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_for_as_long_as_it_says_when(script, status):
    def answer(call):
        return said()(call) if len(server.calls) > 8 else (status, {}, SOON)

    server = script(answer)
    assert drawn(Endpoint(server.url, retries=1), [GenRequest("Hello")])
    server = script(lambda call: (status, {}, SOON))
    with pytest.raises(GenerationError, match=r"timeout=0\.5 .*lower its concurrency"):
        drawn(Endpoint(server.url, model="m", retries=1, timeout=0.5), [GenRequest("Hello")])
    with pytest.raises(GenerationError, match=rf"{status}.*lower concurrency"):
        drawn(Endpoint(server.url, retries=0), [GenRequest("Hello")])


@pytest.mark.parametrize(
    ("details", "headers"),
    [({"code": "insufficient_quota"}, SOON), ({}, {**SOON, "x-should-retry": "false"})],
)
def test_a_quota_that_is_spent_is_not_asked_for_ever(script, details, headers):
    error = {"error": {"message": "no more", **details}}
    server = script(lambda call: (429, error, headers))
    with pytest.raises(GenerationError, match=r"fails with 429.*no more"):
        drawn(Endpoint(server.url, retries=1), [GenRequest("Hello")])
    assert len(server.calls) <= 2


def test_a_draw_that_has_failed_does_not_wait_for_a_busy_server(script):
    def answer(call):
        if call["prompt"] == "busy":
            return 429, {}, SOON
        time.sleep(0.2)
        return 400, {"error": {"message": "wrong"}}, {}

    endpoint = Endpoint(script(answer).url, retries=1, timeout=60)
    start = time.monotonic()
    with pytest.raises(GenerationError, match="wrong"):
        drawn(endpoint, [GenRequest("busy"), GenRequest("other")])
    assert time.monotonic() - start < 20


def test_a_nul_byte_is_no_key(script):
    server = script(lambda call: (400, {"error": {"message": "a\0b"}}, {}))
    with pytest.raises(GenerationError, match=r"a\\x00b"):
        drawn(Endpoint(server.url), [GenRequest("Hello")])


def test_500_is_retried_and_then_reported(script):
    server = script(lambda call: (500, {"error": {"message": "out of memory"}}, SOON))
    with pytest.raises(GenerationError, match=r"500.*out of memory.*stored; the same call cont"):
        drawn(Endpoint(server.url, retries=3), [GenRequest("Hello")])
    assert len(server.calls) == 4


@pytest.mark.parametrize(
    "body",
    [b"{", b"<html>gateway</html>", b"[]", b"null", b'{"choices": []}', b'{"choices": [{}]}',
     b'{"choices": [{"text": 3}]}', b'{"choices": [{"message": null}]}', b"\xff\xfe"],
)  # fmt: skip
def test_malformed_answers(script, body):
    server = script(lambda call: (200, body, {}))
    with pytest.raises(GenerationError, match="something else than completions"):
        drawn(Endpoint(server.url), [GenRequest("Hello")])


def test_a_server_that_dies_in_mid_run(script):
    alive = 3

    def answer(call):
        return said(call["prompt"].upper())(call) if len(server.calls) <= alive else None

    server = script(answer)
    requests = [GenRequest(f"p{i}") for i in range(8)]
    endpoint = Endpoint(server.url, concurrency=2, retries=1)
    why = r"does not answer.*Finished samples are stored"
    kept = kept_before(GenerationError, why, endpoint, requests)
    assert len(kept) == alive
    alive = 100
    rest = drawn(endpoint, requests, [[] if i in kept else [0] for i in range(8)])
    kept |= {place: sample.text for (place, _), sample in rest.items()}
    assert kept == {i: f"P{i}" for i in range(8)}


def test_what_other_threads_finish_is_yielded_before_the_error(script):
    def answer(call):
        if call["prompt"] == "p0":
            return 400, {"error": {"message": "no"}}, {}
        time.sleep(0.3)
        return said()(call)

    server = script(answer)
    requests = [GenRequest(f"p{i}") for i in range(9)]
    endpoint = Endpoint(server.url, concurrency=3)
    kept = kept_before(GenerationError, "request 0", endpoint, requests)
    assert set(kept) >= {1, 2}
    assert len(server.calls) <= 5


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_what_is_queued(script):
    def answer(call):
        time.sleep(0.2)
        return said()(call)

    server = script(answer)
    main = threading.main_thread().ident
    threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        drawn(Endpoint(server.url, concurrency=2), [GenRequest(f"p{i}") for i in range(50)])
    assert time.monotonic() - start < 1.5
    time.sleep(0.5)
    assert len(server.calls) <= 10
