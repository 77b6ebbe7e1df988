"""A long batch of samples, killed at random points and begun again: is anything drawn twice?"""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import workbench as wb
from tests.benchmarks import timing
from workbench.generation.complete import complete
from workbench.generation.decoding import Decoder
from workbench.generation.local import LocalBackend
from workbench.generation.requests import Drawn, GenRequest
from workbench.generation.sample_store import SampleStore

FORK = multiprocessing.get_context("fork")  # a new interpreter would take seconds to import
Rows = set[tuple[str, int]]
"""(prompt, index of its sample)."""


def replies(prompts: int, samples: int, longest: int) -> list[GenRequest]:
    """Requests whose samples have from 2 tokens to `longest`; hot, so that few end before."""
    rng = random.Random(0)
    return [
        GenRequest(f"{i} {text}", samples, round(2 * (longest / 2) ** rng.random()), 8.0, seed=i)
        for i, text in enumerate(timing.prompts(prompts))
    ]


class Noting(LocalBackend):
    """Notes which samples it draws."""

    drawn: Rows = frozenset()

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        for ended in super().draw(requests, missing):
            self.drawn |= {(requests[i].prompt, k) for i, k, _ in ended}
            yield ended


def _watched(model: wb.Model, asked: list[GenRequest], path: Path, pipe: Connection) -> None:
    """Draw into a store; sends, after every token, the rows that it ended."""
    torch.set_num_threads(1)
    note = Decoder._note
    before: Rows = set()

    def noted(decoder: Decoder, *given: torch.Tensor) -> torch.Tensor:
        going = note(decoder, *given)
        rows = zip(decoder.batch.rows, decoder.requests, decoder.reason, strict=True)
        ended = {(request.prompt, row.index) for row, request, reason in rows if reason} - before
        before.update(ended)
        pipe.send(ended)
        return going

    Decoder._note = noted
    complete(LocalBackend(model), asked, store=path)


def killed(
    model: wb.Model, asked: list[GenRequest], path: Path, tokens: int, delay: float
) -> list[Rows]:
    """What each token ended, up to a SIGKILL `delay` seconds after so many tokens."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_watched, args=(model, asked, path, theirs), daemon=True)
    process.start()
    theirs.close()
    ended = [ours.recv() for _ in range(tokens)]
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with suppress(EOFError):
        while True:
            ended.append(ours.recv())
    return ended


def redrawn(
    kills: int = 20, prompts: int = 40, samples: int = 10, longest: int = 160, seed: int = 0
) -> dict[str, float]:
    """What a batch of `prompts` × `samples` rows loses to one SIGKILL at each of random points.

    `redrawn_after_kill`: rows drawn again that were stored, or had ended before the last token.
    `ended_but_not_stored`: rows that the last token ended, drawn again, in the worst case.
    `texts_changed_after_kill`: texts other than those of a run that nothing stopped.
    `share_stored_at_kill`: of all rows, over all kills.
    """
    model, asked = wb.load("tiny", device="cpu"), replies(prompts, samples, longest)
    rng = random.Random(seed)
    out: dict[str, float] = {"redrawn_after_kill": 0, "ended_but_not_stored": 0,
                             "texts_changed_after_kill": 0, "share_stored_at_kill": 0}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        first = complete(model, asked)
        whole, most = [r.texts for r in first], max(s.n_tokens for r in first for s in r.samples)
        step = (time.perf_counter() - began) / most
        for kill in range(kills):
            path = Path(folder) / f"{kill}.sqlite"
            at = rng.randrange(1, most - 1)
            ended = killed(model, asked, path, at, rng.uniform(0, step))
            with SampleStore(path) as store:
                stored = {(prompt, row[3]) for row, _, prompt in store._joined()}
                backend = Noting(model)
                again = [result.texts for result in complete(backend, asked, store=store)]
            settled = stored.union(*ended[:-1])
            out["share_stored_at_kill"] += len(stored) / (kills * prompts * samples)
            out["redrawn_after_kill"] += len(backend.drawn & settled)
            lost = len(ended[-1] - stored)
            out["ended_but_not_stored"] = max(out["ended_but_not_stored"], lost)
            out["texts_changed_after_kill"] += sum(
                a != b
                for ours, theirs in zip(again, whole, strict=True)
                for a, b in zip(ours, theirs, strict=True)
            )
    return out
