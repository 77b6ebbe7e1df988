"""generate() and complete(): one engine for a local model and a server, cached and resumable."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from workbench.arguments import listed, one_of, shown, whole
from workbench.errors import ContextLengthError, GenerationError
from workbench.generation.endpoint import Endpoint
from workbench.generation.local import LocalBackend
from workbench.generation.replay import Replay
from workbench.generation.requests import (
    Backend,
    Drawn,
    GenRequest,
    GenResult,
    Sample,
    parameters,
    prompt_text,
    sample_key,
)
from workbench.generation.rules import Rule, as_rule
from workbench.generation.sample_store import SampleStore
from workbench.hashing import canonical, digest
from workbench.models.model import Model
from workbench.models.prompts import Prompt, as_messages

log = logging.getLogger(__name__)

Completer = Model | str | Backend
"""A loaded model, the URL of an OpenAI-compatible server, or a backend."""
MODES = ("auto", "replay")
_POLL = 0.2
"""Seconds between two looks for samples that another call draws."""


def generate(
    model: Completer,
    prompts: Sequence[Prompt],
    n: int = 1,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: Sequence[str] = (),
    seed: int = 0,
    store: SampleStore | str | Path | None = None,
    mode: str = "auto",
    batch_size: int | None = None,
    rule: Rule | None = None,
) -> list[list[str]]:
    """Completions `[prompt][n]`, special tokens stripped, in the order of `prompts`.

    `temperature=0` is greedy (then `n` must be 1). With a `store` (a path or an open one) nothing
    is drawn twice: see `complete`, also for `rule`. `batch_size` caps rows per batch of a local
    model.

    Raises as `complete`, and `ValueError` for n > 1 with greedy decoding, or one string in place of
    a list of prompts or stops.

    >>> wb.generate(wb.load("tiny"), ["How do I mend the gate"], max_new_tokens=8)
    [[' with the hammer. Never turn the gate']]
    """
    prompts, stop = (
        listed(name, values, empty=True) for name, values in (("prompts", prompts), ("stop", stop))
    )
    n = whole("n", n, 1)
    if n > 1 and temperature == 0:
        raise ValueError("n > 1 completions need temperature > 0; greedy decoding gives one")
    if isinstance(model, Model):
        model = LocalBackend(model, batch_size=batch_size)
    requests = [
        GenRequest(p, n, max_new_tokens, temperature, top_p, top_k, tuple(stop), seed)
        for p in prompts
    ]
    results = complete(model, requests, store=store, mode=mode, rule=rule)
    return [result.texts for result in results]


def complete(
    model: Completer,
    requests: Sequence[GenRequest],
    *,
    store: SampleStore | str | Path | None = None,
    mode: str = "auto",
    rule: Rule | None = None,
) -> list[GenResult]:
    """The result of every request, in order.

    Every sample has an identity: model, weights and steering, prompt, decoding parameters, seed and
    its index. What the `store` holds is not drawn again, so that raising `n` from 2 to 10 draws 8
    more and a killed run goes on where it stopped (a sample is stored when it ends). Equal
    requests are drawn once, also by several threads or processes on one store at the same time:
    what one is drawing the others await. `mode="replay"` draws nothing, and awaits nothing.
    A `rule` works on every row while a local model decodes it: see `wb.Rule`.

    Raises, before any drawing, `ContextLengthError` for a prompt that leaves no room,
    `DatasetError` or `ModelError` for one that cannot be encoded, `StoreError` for an unusable
    store, `ValueError` for a rule on a server, or without a fingerprint beside a store;
    `GenerationError` for a sample that replay lacks, logits that are not finite, a rule's answer
    that cannot be used, or a server that fails (what was drawn is kept).

    >>> requests = [wb.GenRequest("Once upon a time", n=10, temperature=1.0)]
    >>> wb.complete(model, requests, store="samples.sqlite")[0].texts
    """
    one_of("mode", mode, MODES)
    requests = listed("requests", requests, empty=True)
    if not all(isinstance(request, GenRequest) for request in requests):
        raise ValueError("requests must be a list of GenRequest")
    source = backend(model, rule)
    with _opened(store) as opened:
        # Without a store nothing outlives the call, and the weights need not be read.
        identity = source.identity() if opened is not None else {}
        jobs, job_of_request = _jobs(requests, source, identity)
        keys = [key for job in jobs for key in job.keys]
        state = opened.state if opened is not None else None
        samples = opened.get(keys) if opened is not None else {}
        missing = [[i for i, key in enumerate(job.keys) if key not in samples] for job in jobs]
        count = sum(map(len, missing))
        log.info("%d samples to draw, %d restored", count, len(samples))
        if count and mode == "replay":
            first = next(job for job, indices in zip(jobs, missing, strict=True) if indices)
            raise GenerationError(
                f"replay: {count} samples are not stored, the first for {first.prompt[:80]!r}; "
                "run once with mode='auto'"
            )
        if count:
            source.check(requests)
            # Many short calls would litter a notebook with bars.
            bar = {"desc": "generate", "unit": "sample", "leave": False, "delay": 5}
            with tqdm(total=count, **bar) as progress:
                _fill(samples, source, jobs, job_of_request, opened, state, progress)
    results = []
    for request, j in zip(requests, job_of_request, strict=True):
        drawn_once = tuple(samples[key] for key in jobs[j].keys[: request.draws])
        results.append(GenResult(drawn_once * (request.n // request.draws)))
    return results


@dataclass
class _Job:
    """Equal requests as one: the first of them, and the identity of its samples."""

    request: GenRequest
    parameters: str
    prompt: str
    keys: list[str]


def _fill(
    samples: dict[str, Sample],
    source: Backend,
    jobs: list[_Job],
    job_of_request: list[int],
    store: SampleStore | None,
    state: tuple[int, int] | None,
    progress: tqdm,
) -> None:
    """Draw what `samples` lack; what another call on the store is drawing is awaited instead.

    `state` is the store's, taken before `samples` were looked for. Nothing is claimed while this
    waits, so that two calls never wait for each other. Where the other one ends without a sample,
    killed or by an error, it is drawn here.
    """
    waited = False
    while lacking := [key for job in jobs for key in job.keys if key not in samples]:
        began = time.monotonic()
        with store.claims.held(lacking) if store is not None else nullcontext(lacking) as claimed:
            if store is not None and store.state != state:
                state = store.state
                arrived = store.get(lacking)
                samples |= arrived
                progress.update(len(arrived))
            ours = set(claimed) - samples.keys()
            missing = [[i for i, key in enumerate(job.keys) if key in ours] for job in jobs]
            if ours:
                # Closed: a model that decodes is freed also where a sample cannot be stored.
                with closing(_drawn(source, jobs, missing, job_of_request)) as draws:
                    for drawn in draws:
                        rows = [(jobs[j], index, sample) for j, index, sample in drawn]
                        if store is not None:
                            store.put(
                                (job.parameters, job.prompt, index, sample, job.request.stage)
                                for job, index, sample in rows
                            )
                        samples |= {job.keys[index]: sample for job, index, sample in rows}
                        progress.update(len(rows))
        if left_out := ours - samples.keys():
            raise GenerationError(f"{source.name} has not drawn {len(left_out)} samples; run again")
        if not claimed:
            if not waited:
                log.warning("another call draws %d of the samples: waiting for them", len(lacking))
                progress.set_description("generate: another call draws the rest")
            waited = True
            progress.refresh()
            # Looking through very many keys takes a while itself.
            time.sleep(max(_POLL, 4 * (time.monotonic() - began)))


def _drawn(
    source: Backend, jobs: list[_Job], missing: list[list[int]], job_of_request: list[int]
) -> Iterator[list[Drawn]]:
    """What the backend draws; a prompt too long is named by its place in the caller's list."""
    try:
        yield from source.draw([replace(job.request, n=len(job.keys)) for job in jobs], missing)
    except ContextLengthError as error:
        error.request = job_of_request.index(error.request)
        raise


def backend(model: Completer, rule: Rule | None = None) -> Backend:
    """What completes: a loaded model or a server's URL as a backend, a backend as it is.

    Raises `ValueError` for a string that is no URL, and a rule for what is not decoded here.
    """
    if isinstance(model, Model):
        model = LocalBackend(model)
    elif isinstance(model, str):
        if not model.startswith(("http://", "https://")):
            raise ValueError(
                f"{model!r} is neither a loaded model nor a URL: wb.load({model!r}) first, or give "
                "a server's address, http://host:port/v1"
            )
        model = Endpoint(model)
    if rule is None:
        return model
    if not isinstance(model, LocalBackend | Replay):
        raise ValueError(
            f"rule={shown(rule)}: no rule reaches into a {type(model).__name__}; load the model "
            "here (wb.load), or leave the rule out and ask the server for a form in its own terms"
        )
    ruled = copy(model)
    ruled.rule = as_rule(rule)
    return ruled


def _jobs(
    requests: Sequence[GenRequest], source: Backend, identity: dict[str, str]
) -> tuple[list[_Job], list[int]]:
    """The different requests, and for each request which of them it is."""
    jobs: list[_Job] = []
    job_of_content: dict[tuple[str, str], int] = {}
    job_of_request = []
    for place, request in enumerate(requests):
        if not isinstance(request.prompt, str):
            as_messages(place, request.prompt)
    # Only what renders chats itself knows what they became; a server does not say.
    rendered = source.rendered(requests) if isinstance(source, LocalBackend | Replay) else None
    for place, request in enumerate(requests):
        # Steered with one alpha per prompt, equal prompts are not equal requests.
        own = {"place": f"{place}/{len(requests)}"} if source.by_place else {}
        if rendered and rendered[place]:
            own["rendered"] = rendered[place]
        settings = canonical(parameters(request, {**identity, **own}))
        text = prompt_text(request.prompt)
        j = job_of_content.setdefault((settings, text), len(jobs))
        if j == len(jobs):
            jobs.append(_Job(request, settings, text, []))
        prompt_digest, keys = digest(text, 64), jobs[j].keys
        keys += [sample_key(settings, prompt_digest, i) for i in range(len(keys), request.draws)]
        job_of_request.append(j)
    return jobs, job_of_request


@contextmanager
def _opened(store: SampleStore | str | Path | None) -> Iterator[SampleStore | None]:
    """The store given, or one opened here and closed after."""
    if store is None or isinstance(store, SampleStore):
        yield store
    else:
        with SampleStore(store) as opened:
            yield opened
