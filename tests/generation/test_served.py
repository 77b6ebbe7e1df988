"""The OpenAI protocol against `transformers serve`: what comes is what the model says here."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.helpers.families import CHATS
from tests.helpers.greedy import by_generate, text
from tests.helpers.scripted_server import CHAT, PROMPTS, drawn, warnings
from tests.helpers.serving import NAME, serving
from workbench.errors import GenerationError
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import GenRequest
from workbench.generation.stop_strings import cut
from workbench.models.prompts import encode
from workbench.paths import data_folder


@pytest.fixture(scope="module")
def served():
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with serving(data_folder() / "tiny") as url:
        yield url
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port))


def alone(tiny, prompt, new=24) -> str:
    return text(tiny, by_generate(tiny, prompt, new))


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
        "min_p", "n", "repetition_penalty", "top_k"
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
