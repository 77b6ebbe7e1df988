"""What the tests of generation share: a model, the batches planned, servers that misbehave."""

import pytest

from tests.helpers.families import build
from tests.helpers.scripted_server import scripted
from workbench.generation import batching, fitting


@pytest.fixture(scope="package")
def llama(tokenizer):
    """A small random model; tests must leave it as they found it."""
    model = build("llama", tokenizer)
    before = model.fingerprint()
    yield model
    assert model.fingerprint() == before


@pytest.fixture
def plans(monkeypatch):
    """Every batch planned while the test runs."""
    planned = []

    def spy(*args, **kwargs):
        batches = batching.plan(*args, **kwargs)
        planned.extend(batches)
        return batches

    monkeypatch.setattr(fitting, "plan", spy)
    return planned


@pytest.fixture
def script():
    """Starts scripted servers; all have ended after the test."""
    with scripted() as start:
        yield start


@pytest.fixture(autouse=True)
def straight_to_loopback(monkeypatch):
    """No proxy and no key of the environment's."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
