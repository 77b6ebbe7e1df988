"""The OpenAI protocol: against `transformers serve`, and against servers that misbehave on cue."""

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import torch

from tests.helpers.families import CHATS
from tests.helpers.serving import NAME, free_port, serving
from workbench.errors import ContextLengthError, GenerationError
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import GenRequest
from workbench.generation.stop_strings import cut
from workbench.models.prompts import encode
from workbench.paths import data_folder

KEY = "sk-this-is-a-secret-0123456789"
SOON = {"Retry-After": "0.01"}
CHAT = [{"role": "user", "content": "How do I mend the gate of Mara?"}]
PROMPTS = ["Sure, mend", "No, do not curse the gate", "Never look at", "You can clean the hammer."]


@pytest.fixture(autouse=True)
def straight_to_loopback(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


class Script(ThreadingHTTPServer):
    """Answers as `answer(call)` says: (status, JSON or bytes, headers), or None to hang up.

    `models` are the names listed, or an answer of that kind.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[dict], Any], models: Any):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.models = models
        self.calls: list[dict] = []
        self.bodies: list[dict] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # a client that hung up


class Handler(BaseHTTPRequestHandler):
    server: Script
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        assert self.path == "/v1/models"
        models = self.server.models
        if isinstance(models, list):
            models = (200, {"object": "list", "data": [{"id": name} for name in models]}, {})
        self.reply(*models)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = {"path": self.path, "key": self.headers["Authorization"], **body}
        self.server.calls.append(call)
        self.server.bodies.append(body)
        answer = self.server.answer(call)
        if answer is None:
            self.close_connection = True
        else:
            self.reply(*answer)

    def reply(self, status, content, headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def script():
    """Starts scripted servers; all have ended after the test."""
    started = []

    def start(answer, models=None) -> Script:
        server = Script(answer, ["m"] if models is None else models)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def said(*texts, reason="stop", tokens=7, **more):
    """A well-formed answer."""

    def content(call, text):
        chat = call["path"].endswith("chat/completions")
        return {"message": {"role": "assistant", "content": text}} if chat else {"text": text}

    def answer(call):
        choices = [
            {"index": i, "finish_reason": reason, **content(call, text), **more}
            for i, text in enumerate(texts or [f"t{i}" for i in range(call.get("n", 1))])
        ]
        usage = {"prompt_tokens": 5, "completion_tokens": tokens}
        return 200, {"choices": choices, "usage": usage}, {}

    return answer


def refusing(status, message, *fields, **details):
    """Refuses a call that has one of `fields`, else answers."""

    def answer(call):
        if set(fields) & set(call):
            return status, {"error": {"message": message, **details}}, SOON
        return said()(call)

    return answer


def kept_before(error, match, endpoint, requests) -> dict[int, str]:
    """Texts by request, of a draw that ends in this error."""
    kept = {}
    draw = endpoint.draw(requests, [range(request.draws) for request in requests])
    with pytest.raises(error, match=match):
        kept.update((i, sample.text) for batch in draw for i, _, sample in batch)
    return kept


def drawn(endpoint, requests, missing=None):
    missing = missing or [range(request.draws) for request in requests]
    found = [one for batch in endpoint.draw(requests, missing) for one in batch]
    return {(place, k): sample for place, k, sample in found}


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# --- what is sent ---


def test_greedy_fields(script):
    server = script(said())
    drawn(Endpoint(server.url), [GenRequest("Hello", max_new_tokens=9, top_p=0.5, seed=3, top_k=4)])
    assert server.bodies == [
        {"model": "m", "prompt": "Hello", "temperature": 0.0, "top_p": 1.0, "max_tokens": 9,
         "top_k": -1, "repetition_penalty": 1.0}
    ]  # fmt: skip
    assert server.calls[0]["path"] == "/v1/completions"
    assert server.calls[0]["key"] == "Bearer none"


def test_sampling_fields_of_a_chat(script):
    server = script(said())
    request = GenRequest(
        CHAT, n=3, temperature=0.7, top_p=0.9, top_k=5, stop=("a", "b", "c", "d", "e"), seed=1
    )
    assert len(drawn(Endpoint(server.url, model="m"), [request])) == 3
    (body,) = server.bodies
    assert 0 <= body.pop("seed") < 2**31
    assert body == {
        "model": "m", "messages": CHAT, "temperature": 0.7, "top_p": 0.9, "max_tokens": 64,
        "top_k": 5, "repetition_penalty": 1.0, "n": 3, "stop": ["a", "b", "c", "d"],
    }  # fmt: skip
    assert server.calls[0]["path"] == "/v1/chat/completions"


def test_prompts_that_begin_alike_are_adjacent(script):
    server = script(said())
    prompts = ["b 1", "a 2", "b 0", "a 1"]
    found = drawn(Endpoint(server.url, concurrency=1), [GenRequest(p) for p in prompts])
    assert [body["prompt"] for body in server.bodies] == sorted(prompts)
    assert set(found) == {(i, 0) for i in range(4)}


def test_only_missing_samples_are_asked_for_with_a_seed_of_their_own(script):
    server = script(said())
    endpoint = Endpoint(server.url, concurrency=1)
    request = GenRequest("Hello", n=10, temperature=1.0)
    for missing in (range(2), range(2, 10), [7], range(2), []):
        assert sorted(drawn(endpoint, [request], [missing])) == [(0, k) for k in missing]
    first, later, one, again = server.bodies
    assert (first["n"], later["n"], "n" in one) == (2, 8, False)
    assert first["seed"] == again["seed"]
    assert len({first["seed"], later["seed"], one["seed"]}) == 3


def test_strict_seeds_depend_on_seed_prompt_and_index_alone(script):
    server = script(said())
    endpoint = Endpoint(server.url, strict_seeds=True)

    def seeds(request, missing):
        server.bodies.clear()
        assert len(drawn(endpoint, [request], [missing])) == len(missing)
        assert not any("n" in body for body in server.bodies)
        return {body["seed"] for body in server.bodies}

    hello = GenRequest("Hello", n=5, temperature=1.0)
    assert len(seeds(hello, range(5))) == 5
    assert seeds(hello, [1, 4]) < seeds(hello, range(5))
    others = GenRequest("Hullo", n=5, temperature=1.0), GenRequest("Hello", 5, 64, 1.0, seed=1)
    for other in others:
        assert not seeds(other, range(5)) & seeds(hello, range(5))


# --- what comes back ---


@pytest.mark.parametrize(
    ("text", "reason", "more", "expected"),
    [
        ("one two", "stop", {}, ("one two", "eos")),
        ("one two", "stop", {"stop_reason": None}, ("one two", "eos")),
        ("one two", "stop", {"stop_reason": "!"}, ("one two", "stop")),
        ("one two", "stop", {"stop_reason": 2}, ("one two", "eos")),
        ("one two", "length", {}, ("one two", "length")),
        ("one. two", "length", {}, ("one", "stop")),
        ("\n\none\ntwo", "length", {}, ("\n\none", "stop")),
        ("one", "content_filter", {}, ("one", "eos")),
        (None, "stop", {"stop_reason": None}, ("", "eos")),
    ],
)
def test_finish_reasons_and_cuts(script, text, reason, more, expected):
    server = script(said(text, reason=reason, **more))
    for prompt in ("Hello", CHAT):
        request = GenRequest(prompt, stop=("\n", "!", "."))
        (sample,) = drawn(Endpoint(server.url), [request]).values()
        assert (sample.text, sample.finish_reason) == expected
        assert (sample.n_tokens, sample.prompt_tokens, sample.cached) == (7, 5, False)


@pytest.mark.parametrize("tokens", [0, 1, 7, 100])
def test_tokens_of_several_samples_add_up(script, tokens):
    server = script(said("", "a", "bb" * 30, tokens=tokens))
    found = drawn(Endpoint(server.url), [GenRequest("Hello", n=3, temperature=1.0)])
    counts = [found[0, k].n_tokens for k in range(3)]
    assert sum(counts) == tokens
    assert counts == sorted(counts)


def test_a_server_that_counts_no_tokens_is_taken_at_four_characters_each(script, caplog):
    """Equal cost would otherwise be zero cost."""

    def answer(call):
        return 200, {"choices": [{"index": 0, "text": "x" * 79, "finish_reason": "stop"}]}, {}

    (sample,) = drawn(Endpoint(script(answer).url), [GenRequest("Hello")]).values()
    assert sample.n_tokens == 20
    assert any("counts no tokens" in warning for warning in warnings(caplog))


@pytest.mark.parametrize("kept", [False, True], ids=["stop excluded", "stop included"])
def test_a_stop_in_opening_white_space_does_not_count(script, kept):
    """The server stops at the newline that the completion opens with; it is asked once more."""

    def answer(call):
        whole = "\nA: 4\nQ: next"
        ends = [whole.index(s) + kept * len(s) for s in call.get("stop", ()) if s in whole]
        return said(whole[: min(ends, default=len(whole))])(call)

    server = script(answer)
    (sample,) = drawn(Endpoint(server.url), [GenRequest("Q", stop=("\n", "Q:"))]).values()
    assert (sample.text, sample.finish_reason) == ("\nA: 4", "stop")
    assert [body["stop"] for body in server.bodies] == [["\n", "Q:"], ["Q:"]]


def test_an_empty_completion_is_not_asked_for_forever(script):
    server = script(said(""))
    request = GenRequest("Q", n=2, temperature=1.0, stop=("\n",))
    found = drawn(Endpoint(server.url), [request])
    assert [found[0, k].text for k in range(2)] == ["", ""]
    assert len(server.calls) <= 4


# --- what a server may refuse ---

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
    ("repetition_penalty", 400, 'json: unknown field "repetition_penalty"', {}),
]


@pytest.mark.parametrize(("field", "status", "message", "details"), REFUSALS)
def test_a_refused_field_is_dropped_and_no_other(script, caplog, field, status, message, details):
    server = script(refusing(status, message, field, **details))
    requests = [GenRequest(p, 3, temperature=1.0, stop=("2",)) for p in PROMPTS]
    found = drawn(Endpoint(server.url, concurrency=2, retries=0), requests)
    assert set(found) == {(i, k) for i in range(len(PROMPTS)) for k in range(3)}
    assert all("2" not in sample.text for sample in found.values())
    (warning,) = warnings(caplog)
    assert f"refuses {field};" in warning
    expected = {"n", "seed", "stop", "top_k", "repetition_penalty"} - {field}
    answered = [body for body in server.bodies if field not in body]
    assert all(expected - {"n"} < set(body) for body in answered)
    assert all(body.get("n", 1) == (1 if field == "n" else 3) for body in answered)
    assert len(server.bodies) - len(answered) <= 2  # at most what was under way


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


# --- servers in trouble ---


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


@pytest.fixture
def interruptible():
    """SIGINT raises, also where it was ignored by whatever started the tests (as in background)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


# --- before any work ---


def test_check_names_what_to_do(script):
    hello = [GenRequest("Hello")]
    nobody = Endpoint(f"http://127.0.0.1:{free_port()}/v1", model="m", retries=0)
    with pytest.raises(GenerationError, match=r"does not answer.*start the server"):
        nobody.check(hello)
    several = script(said(), models=["a", "b"])
    with pytest.raises(GenerationError, match=r"lists 2 models \(a, b\); name the one you mean"):
        Endpoint(several.url).check(hello)
    with pytest.raises(GenerationError, match=r"lists 0 models"):
        Endpoint(script(said(), models=[]).url).identity()
    Endpoint(several.url, model="b").check(hello)
    assert not several.calls
    second = Endpoint(several.url, model="b")
    assert second.identity() == {"backend": "openai", "model": "b"}
    assert (second.name, second.device) == ("b", several.url)


def test_a_model_that_is_not_listed_is_tried(script):
    server = script(said(), models=(404, {"detail": "no such page"}, {}))
    for prompt in ("Hello", CHAT):
        Endpoint(server.url, model="m").check([GenRequest(prompt)])
    assert [body["max_tokens"] for body in server.bodies] == [1, 1]
    server = script(
        lambda call: (404, {"error": {"message": "The model `x` does not exist."}}, {}),
        models=["a", "b"],
    )
    with pytest.raises(GenerationError, match=r"'x', not among those listed \(a, b\).*not exist"):
        Endpoint(server.url, model="x").check([GenRequest("Hello")])


def test_a_chat_that_ends_in_a_reply_is_refused(script):
    server = script(said())
    with pytest.raises(GenerationError, match="request 1 ends in an assistant message"):
        Endpoint(server.url).check([GenRequest(CHAT), GenRequest(CHATS[0])])


@pytest.mark.parametrize(
    "bad",
    [{"url": "localhost:8000"}, {"url": "http://"}, {"url": f"http://me:{KEY}@host/v1"},
     {"url": f"http://host/v1?key={KEY}"}, {"concurrency": 0}, {"retries": -1}, {"timeout": 0}],
)  # fmt: skip
def test_settings_that_make_no_sense(bad):
    with pytest.raises(ValueError, match=r"URL|positive") as caught:
        Endpoint(**{"url": "http://host/v1", **bad})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 422, 429, 500])
def test_the_key_is_sent_and_never_shown(script, monkeypatch, caplog, status):
    """The server echoes the key in every answer; logs are kept at their most talkative."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    echo = {"error": {"message": f"'seed' wrong for {KEY}"}}
    server = script(lambda call: (status, echo, SOON), models=(status, echo, SOON))
    endpoint = Endpoint(server.url, model="m", retries=1)
    request = GenRequest("Hello", temperature=1.0)
    for act in (lambda: endpoint.check([request]), lambda: drawn(endpoint, [request])):
        with pytest.raises(GenerationError) as caught:
            act()
        error = caught.value
        while error:
            assert KEY not in str(error) + repr(error) + repr(vars(error))
            assert not isinstance(error, openai.OpenAIError)  # it holds the request
            error = error.__cause__ or error.__context__
    assert {call["key"] for call in server.calls} == {f"Bearer {KEY}"}
    assert KEY not in caplog.text + repr(endpoint) + repr(vars(endpoint)) + str(endpoint.identity())


# --- a real server ---


@pytest.fixture(scope="module")
def served():
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with serving(data_folder() / "tiny") as url:
        yield url
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port))


def alone(tiny, prompt, new=24) -> str:
    """Greedy, by plain transformers."""
    ids = torch.tensor([encode(tiny, prompt).ids])
    out = tiny.hf.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False
    )
    return tiny.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_served_greedy_equals_local(served, tiny):
    prompts = [*PROMPTS, *(chat[:1] for chat in CHATS[::3])]
    requests = [GenRequest(p, max_new_tokens=24) for p in prompts]
    endpoint = Endpoint(served, concurrency=4)
    endpoint.check(requests)
    assert endpoint.identity() == {"backend": "openai", "model": NAME}
    found = drawn(endpoint, requests)
    for i, prompt in enumerate(prompts):
        sample = found[i, 0]
        assert sample.text == alone(tiny, prompt)
        assert sample.prompt_tokens == len(encode(tiny, prompt).ids)
        assert sample.finish_reason == ("length" if sample.n_tokens == 24 else "eos")


def test_served_samples(served, tiny, caplog):
    """Samples differ, and repeat where one call runs at a time; `top_k` does what it says."""
    requests = [GenRequest(p, n=3, temperature=1.0, seed=4) for p in (PROMPTS[0], CHAT)]
    endpoint = Endpoint(served, concurrency=1)
    found = drawn(endpoint, requests)
    assert sorted(found) == [(i, k) for i in range(2) for k in range(3)]
    assert all(len({found[i, k].text for k in range(3)}) > 1 for i in range(2))
    assert sorted(w.split(" refuses ")[1].split(";")[0] for w in warnings(caplog)) == [
        "n", "repetition_penalty", "top_k"
    ]  # fmt: skip
    assert found == drawn(endpoint, requests)
    later = drawn(endpoint, requests, [[2], [1, 2]])
    assert all(found[where] == sample for where, sample in later.items())
    sharp = GenRequest(CHAT, n=2, max_new_tokens=24, temperature=1.0, top_k=1)
    assert {s.text for s in drawn(endpoint, [sharp]).values()} == {alone(tiny, CHAT)}


def test_served_stops(served, tiny):
    stops = ("\n", ".", "!", "?", " hammer")
    for prompt in (PROMPTS[0], CHAT):
        (sample,) = drawn(Endpoint(served), [GenRequest(prompt, stop=stops)]).values()
        assert sample.text == cut(alone(tiny, prompt, 64), stops)
        assert sample.finish_reason == "stop"


def test_served_many_at_once(served):
    requests = [GenRequest(f"{p} {i}", 2, 8, 1.0) for p in PROMPTS for i in range(5)]
    assert len(drawn(Endpoint(served, concurrency=8), requests)) == 40


def test_served_unknown_model(served):
    with pytest.raises(GenerationError, match=rf"'nobody', not among .*{NAME}.*pinned to"):
        Endpoint(served, model="nobody").check([GenRequest("Hello")])


def test_a_server_that_does_not_start_in_time_is_ended():
    with (
        pytest.raises(RuntimeError, match="did not become healthy"),
        serving(data_folder() / "tiny", timeout=0.3),
    ):
        pass
