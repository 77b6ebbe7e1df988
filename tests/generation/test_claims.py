"""Calls at once on one store: every sample is drawn once, whoever ends how."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from workbench.errors import GenerationError
from workbench.generation.complete import complete
from workbench.generation.requests import GenRequest, Sample
from workbench.generation.sample_store import SampleStore

FORK = multiprocessing.get_context("fork")  # a new interpreter would take seconds to import


@dataclass
class Slow:
    """Draws one sample at a time and notes it in a file; at the n-th, `stop` is called."""

    notes: Path
    pause: float = 0.02
    at: int = 10**9
    stop: object = None
    drawn: list = field(default_factory=list)
    by_place: bool = False
    name: str = "slow"
    device: str = "cpu"

    def identity(self):
        return {"backend": "slow"}

    def check(self, requests):
        pass

    def draw(self, requests, missing):
        for i, (request, indices) in enumerate(zip(requests, missing, strict=True)):
            for k in indices:
                if len(self.drawn) == self.at:
                    self.stop()
                time.sleep(self.pause)
                self.drawn.append((request.prompt, k))
                with self.notes.open("a") as file:
                    file.write(f"{request.prompt} {k}\n")
                yield [(i, k, Sample(f"{request.prompt} {k}", "eos", 3, 2))]


def ask(prompt, n=5):
    return GenRequest(prompt, n, temperature=1.0)


def call(store, requests, notes, **more):
    results = complete(Slow(notes, **more), requests, store=store)
    for request, result in zip(requests, results, strict=True):
        assert result.texts == [f"{request.prompt} {k}" for k in range(request.n)]


def noted(notes):
    return sorted(notes.read_text().splitlines())


SAME = [[ask("a"), ask("b")], [ask("a"), ask("b")]]
CROSSED = [[ask("a"), ask("b"), ask("c")], [ask("c"), ask("d"), ask("a", 8)]]


@pytest.mark.parametrize("asked", [SAME, CROSSED, SAME * 3, CROSSED * 2], ids=len)
@pytest.mark.parametrize("how", ["one open store", "in memory", "a store each", "processes"])
def test_calls_at_once_draw_every_sample_once(tmp_path, asked, how):
    path, notes = tmp_path / "s.sqlite", tmp_path / "notes"
    if how == "processes":
        many = [FORK.Process(target=call, args=(path, requests, notes)) for requests in asked]
        for process in many:
            process.start()
        for process in many:
            process.join(60)
            assert process.exitcode == 0
        store = SampleStore(path)
    else:
        store = SampleStore(None if how == "in memory" else path)
        given = path if how == "a store each" else store
        with ThreadPoolExecutor(len(asked)) as pool:
            for done in [pool.submit(call, given, requests, notes) for requests in asked]:
                done.result(60)
    with store:
        keys = {f"{r.prompt} {k}" for requests in asked for r in requests for k in range(r.n)}
        assert noted(notes) == sorted(keys)
        assert store.written == len(store) == len(keys)
    left = {p.name for p in tmp_path.iterdir()} - {"notes"}
    assert left <= {"s.sqlite", "s.sqlite.lock"}


def test_the_claims_of_a_killed_call_end_with_it(tmp_path):
    path, notes = tmp_path / "s.sqlite", tmp_path / "notes"
    die = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    first = FORK.Process(
        target=call, args=(path, SAME[0], notes), kwargs={"at": 6, "stop": die, "pause": 0.1}
    )
    first.start()
    while not notes.exists():
        time.sleep(0.01)
    call(path, SAME[0], notes)  # waits, sees it die, draws the rest
    first.join()
    assert first.exitcode == -signal.SIGKILL
    with SampleStore(path) as store:
        assert store.written == len(store) == 10
    assert len(noted(notes)) == len(set(noted(notes))) == 10
    assert not list(tmp_path.glob("*.claims"))


@pytest.mark.parametrize("how", ["in memory", "file"])
def test_an_error_half_way_lets_the_other_draw_the_rest(tmp_path, how):
    notes = tmp_path / "notes"

    def fail():
        raise GenerationError("the backend failed")

    with SampleStore(None if how == "in memory" else tmp_path / "s.sqlite") as store:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(call, store, SAME[0], notes, at=4, stop=fail)
            while not notes.exists():
                time.sleep(0.01)
            pool.submit(call, store, SAME[0], notes).result(60)
        with pytest.raises(GenerationError, match="the backend failed"):
            first.result()
        assert store.written == 10
        assert len(noted(notes)) == 10


def test_what_is_awaited_is_shown_and_replay_awaits_nothing(tmp_path, caplog):
    path, notes = tmp_path / "s.sqlite", tmp_path / "notes"
    first = threading.Thread(target=call, args=(path, [ask("a", 8)], notes), kwargs={"pause": 0.1})
    first.start()
    while not notes.exists():
        time.sleep(0.01)
    with pytest.raises(GenerationError, match=r"replay: .* samples are not stored"):
        complete(Slow(notes), [ask("a", 8)], store=path, mode="replay")
    second = Slow(notes)
    (result,) = complete(second, [ask("a", 8)], store=path)
    first.join()
    assert second.drawn == []
    assert all(sample.cached for sample in result.samples)
    assert caplog.text.count("another call draws") == 1


def test_ctrl_c_ends_the_wait(tmp_path, interruptible):
    path, notes = tmp_path / "s.sqlite", tmp_path / "notes"
    first = FORK.Process(target=call, args=(path, SAME[0], notes), kwargs={"pause": 100})
    first.start()
    try:
        while not list(tmp_path.glob("*.claims")):
            time.sleep(0.01)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            call(path, SAME[0], notes)
    finally:
        first.kill()
        first.join()
    call(path, SAME[0], notes)  # nothing of either is left
    assert len(noted(notes)) == 10


def test_a_backend_that_leaves_samples_out_is_named(tmp_path):
    backend = Slow(tmp_path / "notes")
    backend.draw = lambda requests, missing: iter([[(0, 0, Sample("x", "eos", 1, 1))]])
    for store in (None, SampleStore()):
        with pytest.raises(GenerationError, match="slow has not drawn 4 samples"):
            complete(backend, [ask("a")], store=store)
