"""The generation engine beside plain `generate` on the same draws; replay and store overhead."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LogitsProcessor

import workbench as wb
from tests.benchmarks import timing
from workbench.data.problems import read_problems
from workbench.generation.choices import token_logprobs
from workbench.generation.complete import complete
from workbench.generation.local import LocalBackend
from workbench.generation.requests import Drawn, GenRequest, Sample
from workbench.generation.sample_store import SampleStore
from workbench.generation.sampling import pick, uniforms
from workbench.models.prompts import encode_all
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify

PREFIX, SUFFIX = 800, 60
SIZES = {"toy": (2, 2, 4), "tiny": (24, 10, 40), "100m": (6, 4, 24), "8b": (24, 4, 64)}
"""Prompts, samples each, new tokens. The spec's case is 24 prompts x 10 samples."""


class _Drawn(LogitsProcessor):
    """Leaves `generate` one choice: the token our engine would draw for the same sample."""

    def __init__(self, rows: torch.Tensor, temperature: float, start: int) -> None:
        self.rows, self.temperature, self.start = rows, temperature, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.start
        heat = torch.full((len(scores),), self.temperature, device=scores.device)
        chosen = pick(scores.float(), heat, self.rows[:, step])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


class Plain(LocalBackend):
    """What a user writes: `hf.generate` on padded batches of as many rows as ours have."""

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        rows = [(i, k) for i, indices in enumerate(missing) for k in indices]
        tokenizer, hf = self.model.tokenizer, self.model.hf
        for at in range(0, len(rows), self._fitting.rows):
            some = rows[at : at + self._fitting.rows]
            asked = [requests[i] for i, _ in some]
            inputs = tokenizer([r.prompt for r in asked], return_tensors="pt", padding=True)
            inputs = inputs.to(hf.device)
            new = asked[0].max_new_tokens
            draws = uniforms(
                [(r.seed, r.prompt, k, new) for r, (_, k) in zip(asked, some, strict=True)]
            ).to(hf.device)
            width = inputs["input_ids"].shape[1]
            out = hf.generate(
                **inputs, max_new_tokens=new, do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                logits_processor=[_Drawn(draws, asked[0].temperature, width)],
            )  # fmt: skip
            texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
            yield [
                (i, k, Sample(text, "length", new, width))
                for (i, k), text in zip(some, texts, strict=True)
            ]


def behind_one_text(name: str) -> tuple[wb.Model, list[GenRequest]]:
    """A model, and requests that begin with the same `PREFIX` words."""
    prompts, n, new = SIZES[name]
    hf = timing.make(name)
    hf.config.max_position_embeddings = max(2048, hf.config.max_position_embeddings)
    model = wb.load(hf, timing.tokenizer())
    hf.generation_config.eos_token_id = model.tokenizer.eos_token_id
    words = timing.prompts(1, 1)[0].split()
    text = " ".join(words[i % len(words)] for i in range(PREFIX))
    tails = timing.prompts(prompts, seed=2)
    return model, [
        GenRequest(f"{text} {i} {' '.join((tail + ' ' + text).split()[:SUFFIX])}", n, new, 0.7)
        for i, tail in enumerate(tails)
    ]


def prefix_times(model: wb.Model, asked: list[GenRequest]) -> tuple[dict[str, list[float]], float]:
    """Seconds of plain generate and of ours by round, and the share of equal samples."""
    made: dict[str, list[list[str]]] = {}

    def run(engine: type[LocalBackend]) -> None:
        made[engine.__name__] = [r.texts for r in complete(engine(model), asked)]

    calls = {"workbench": lambda: run(LocalBackend), "plain": lambda: run(Plain)}
    times = timing.interleaved(calls, 2, warm=timing.device().type == "cuda")
    pairs = [
        a == b
        for ours, theirs in zip(made["LocalBackend"], made["Plain"], strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return times, sum(pairs) / len(pairs)


def prefix_reuse(name: str) -> dict[str, float]:
    """Time of plain generate over ours, and the share of samples that are the same."""
    prompts, n, new = SIZES[name]
    times, same = prefix_times(*behind_one_text(name))
    ratio = timing.ratio(times, "plain", "workbench")
    print(
        f"\ngenerate, {name}: {prompts} prompts x {n} samples of {new} tokens behind {PREFIX} words"
    )
    print(f"  plain generate over workbench {ratio:.2f}, same samples {same:.1%}")
    return {f"generate_vs_plain_{name}": ratio, f"generate_same_samples_{name}": same}


def store(samples: int = 20_000) -> dict[str, float]:
    """Milliseconds a sample that keys and store cost, writing and reading back."""
    requests = [
        GenRequest(f"prompt {i} " * 60, 100, temperature=1.0) for i in range(samples // 100)
    ]

    class Instant:
        name, device, by_place = "instant", "none", False

        def identity(self) -> dict[str, str]:
            return {"backend": "instant"}

        def check(self, requests: Sequence[GenRequest]) -> None:
            pass

        def draw(
            self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
        ) -> Iterator[list[Drawn]]:
            for i, indices in enumerate(missing):
                yield [(i, k, Sample(f"text {k} " * 20, "eos", 40, 100)) for k in indices]

    with tempfile.TemporaryDirectory() as folder, SampleStore(Path(folder) / "s.sqlite") as kept:
        start = time.perf_counter()
        complete(Instant(), requests, store=kept)
        wrote = time.perf_counter()
        complete(Instant(), requests, store=kept, mode="replay")
        read = time.perf_counter()
    out = {"store_write_ms": 1e3 * (wrote - start) / samples,
           "store_read_ms": 1e3 * (read - wrote) / samples}  # fmt: skip
    print(
        f"\nstore, ms a sample: {out['store_write_ms']:.3f} write, {out['store_read_ms']:.3f} read"
    )
    return out


def replay(questions: int = 200) -> dict[str, float]:
    """Seconds to run self-verification on stored samples, and over the first run's."""
    problems = [p for p in read_problems("sums") if not p.id.startswith("5-")][:questions]
    model, settings = wb.load("sums"), replace(Settings().tiny(), k=5, p=10)
    with tempfile.TemporaryDirectory() as folder, SampleStore(Path(folder) / "s.sqlite") as kept:
        start = time.perf_counter()
        first = self_verify(model, problems, settings, store=kept)
        ran = time.perf_counter()
        again = self_verify(model, problems, settings, store=kept)
        seconds = time.perf_counter() - ran
        count = len(kept)
    if [v.answer for v in first] != [v.answer for v in again]:
        raise SystemExit("replay decided otherwise than the first run")
    print(f"\nreplay of {questions} questions ({count} samples): {seconds:.2f} s")
    return {"replay_seconds": seconds, "replay_over_first": seconds / (ran - start)}


@torch.inference_mode()
def shared_agreement(model: wb.Model, asked: list[GenRequest]) -> float:
    """How far logits behind a beginning computed once are from those of plain forwards.

    Both less their mean, which no probability depends on. `SystemExit` where they differ.
    """
    prompts = [request.prompt for request in asked]
    encoded = encode_all(model, prompts)
    plain = [model.hf(torch.tensor([e.ids]).to(model.input_device)).logits[0, -1] for e in encoded]
    reference = torch.stack(plain).float()
    ours = token_logprobs(model, prompts, range(model.n_tokens)).to(reference)
    ours, reference = (x - x.mean(1, keepdim=True) for x in (ours, reference))
    return timing.require_close("behind a shared beginning", ours, reference)


def engine() -> dict[str, float]:
    """All of the above."""
    return prefix_reuse("tiny") | prefix_reuse("100m") | store() | replay()
