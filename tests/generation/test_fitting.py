"""Samples are stored when their row ends, whatever becomes of the rest of its batch."""

import threading

import pytest

import workbench as wb
from tests.helpers.faults import OUT_OF_MEMORY
from workbench.errors import StoreError
from workbench.generation.decoding import Decoder
from workbench.generation.local import LocalBackend

LENGTHS = (1, 2, 3, 5, 8, 13)
"""New tokens of each request, so that every row of the one batch ends at another step."""


def requests():
    return [wb.GenRequest(f"Mend gate {n}", 2, n, temperature=1.0) for n in LENGTHS]


def stopped_at(monkeypatch, token, error):
    """Decoding raises `error` once, before its `token`-th new token."""
    steps = Decoder.steps

    def some(self, *rule):
        for step, _ in enumerate(steps(self, *rule), 1):
            if step == token and error:
                monkeypatch.setattr(Decoder, "steps", steps)
                raise error
            yield

    monkeypatch.setattr(Decoder, "steps", some)


@pytest.fixture(scope="module")
def complete_texts(llama):
    return [result.texts for result in wb.complete(llama, requests())]


@pytest.mark.parametrize("token", [1, 2, 4, 9, 13])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")], ids=["ctrl-c", "bug"])
def test_what_had_ended_is_not_drawn_again(monkeypatch, llama, complete_texts, token, error):
    stopped_at(monkeypatch, token, error)
    with wb.SampleStore() as store:
        with pytest.raises(type(error)):
            wb.complete(llama, requests(), store=store)
        ended = sum(2 for n in LENGTHS if n < token)
        assert len(store) >= ended > len(store) - 6  # an end token may end a row before its time
        texts = [result.texts for result in wb.complete(llama, requests(), store=store)]
        assert store.written == len(store) == 2 * len(LENGTHS)
    assert texts == complete_texts


@pytest.mark.parametrize("token", [1, 4, 9])
def test_after_memory_ran_out_only_the_others_are_drawn(monkeypatch, llama, complete_texts, token):
    stopped_at(monkeypatch, token, RuntimeError(OUT_OF_MEMORY))
    with wb.SampleStore() as store:
        texts = [result.texts for result in wb.complete(llama, requests(), store=store)]
        assert store.written == len(store)
    assert texts == complete_texts


def test_a_sample_that_cannot_be_stored_frees_the_model(monkeypatch, llama):
    """Also while the error is held, as a notebook holds the last one."""

    def refused(*_):
        raise StoreError("the disk is full")

    store = wb.SampleStore()
    monkeypatch.setattr(store, "put", refused)
    with pytest.raises(StoreError) as error:
        wb.complete(llama, requests(), store=store)
    assert llama.in_flight is None
    other = threading.Thread(target=wb.generate, args=(llama, ["Mend"]), daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive()
    assert "full" in str(error.value)


def test_rows_of_one_step_come_together(llama):
    ended = [len(drawn) for drawn in LocalBackend(llama).draw(requests(), [[0, 1]] * len(LENGTHS))]
    assert sum(ended) == 2 * len(LENGTHS)
    assert len(ended) >= len(LENGTHS)
