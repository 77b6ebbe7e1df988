"""The OpenAI protocol: what is sent, what comes back, what is refused before any work."""

import logging

import openai
import pytest

from tests.helpers.families import CHATS
from tests.helpers.scripted_server import CHAT, SOON, drawn, said, warnings
from tests.helpers.serving import free_port
from workbench.errors import GenerationError
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import GenRequest

KEY = "sk-this-is-a-secret-0123456789"


# --- what is sent ---


def test_greedy_fields(script):
    server = script(said())
    drawn(Endpoint(server.url), [GenRequest("Hello", max_new_tokens=9, top_p=0.5, seed=3, top_k=4)])
    assert server.bodies == [
        {"model": "m", "prompt": "Hello", "temperature": 0.0, "top_p": 1.0, "max_tokens": 9,
         "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
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
        "top_k": 5, "min_p": 0.0, "repetition_penalty": 1.0, "n": 3, "stop": ["a", "b", "c", "d"],
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
        ("one two", "eos_token", {}, ("one two", "eos")),
        ("", "stop", {"stop_reason": None}, ("", "eos")),
    ],
)
def test_finish_reasons_and_cuts(script, text, reason, more, expected):
    server = script(said(text, reason=reason, **more))
    for prompt in ("Hello", CHAT):
        request = GenRequest(prompt, stop=("\n", "!", "."))
        (sample,) = drawn(Endpoint(server.url), [request]).values()
        assert (sample.text, sample.finish_reason) == expected
        assert (sample.n_tokens, sample.prompt_tokens, sample.cached) == (7, 5, False)


@pytest.mark.parametrize("tokens", [1, 7, 100])
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
    with pytest.raises(ValueError, match=r"URL|: it must be") as caught:
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
    soon = {} if status == 429 else SOON  # or it would be asked again until the timeout
    server = script(lambda call: (status, echo, soon), models=(status, echo, soon))
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
