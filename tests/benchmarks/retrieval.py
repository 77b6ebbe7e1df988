"""Evidence at scale: exact search, drawing of questions, metrics of predicted graphs and chains.

`python -m tests.benchmarks.retrieval`: CPU seconds of one thread. Search is beside a plain matrix
product and topk of torch, both as one call over all vectors and as a memory map in float16 read
whole; its memory is that of a fresh process.
"""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks import timing
from tests.retrieval import slow_chains
from workbench.evaluation.ratios import alternated
from workbench.papers.graphhop import costs
from workbench.retrieval.chain_metrics import (
    KS,
    ChainScores,
    chain_scored,
    full_chain_at,
    recall_at,
    step_accuracy,
    stop_table,
)
from workbench.retrieval.chains import depth_first
from workbench.retrieval.graphs import ROOT, Edge, Evidence
from workbench.retrieval.iterate import iterated
from workbench.retrieval.lexical import Bm25
from workbench.retrieval.metrics import Scores, scored
from workbench.retrieval.search import CHUNK, top_k
from workbench.worlds.chains import questions as chained
from workbench.worlds.facts import World
from workbench.worlds.pools import questions

FACTS, WIDTH, QUERIES, K, ROUNDS = 10**6, 384, 32, 10, 5
_PEAK = """
import sys, threading, numpy as np, torch
from pathlib import Path
from tests.benchmarks.retrieval import QUERIES, K, WIDTH
from workbench.retrieval.search import CHUNK, top_k
torch.set_num_threads(1)
vectors, queries = np.load(sys.argv[1], mmap_mode="r"), torch.randn(QUERIES, WIDTH)
used = lambda: next(int(line.split()[1]) for line in
    Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
top_k(queries, vectors[:1000], K)
before = used()
def peak(call):
    high, done = [before], threading.Event()
    def watch():
        while not done.is_set():
            high.append(max(high.pop(), used()))
    beside = threading.Thread(target=watch)
    beside.start(); call(); done.set(); beside.join()
    return high[0] - before
def plain():
    part = torch.from_numpy(vectors[:CHUNK].astype(np.float32))
    return (queries @ part.T).topk(K, dim=1)
one = peak(plain)
print(peak(lambda: top_k(queries, vectors, K)) / one)
"""


def search(facts: int = FACTS) -> dict[str, float]:
    """`top_k` over a plain product and topk; its memory over that of one chunk done plainly."""
    torch.manual_seed(0)
    vectors, queries = torch.randn(facts, WIDTH), torch.randn(QUERIES, WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "vectors.npy"
        np.save(place, vectors.numpy().astype(np.float16))
        mapped = np.load(place, mmap_mode="r")

        def plain_mapped() -> torch.Tensor:
            return (queries @ torch.from_numpy(np.array(mapped)).float().T).topk(K, dim=1).indices

        calls = {
            "ours, mapped": lambda: top_k(queries, mapped, K),
            "plain, mapped": plain_mapped,
        }
        if not torch.equal(calls["ours, mapped"]()[1], plain_mapped()):
            raise SystemExit("top_k finds other facts than a plain topk")
        times = timing.interleaved(calls, ROUNDS)
        command = [sys.executable, "-c", _PEAK, str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        "topk_ratio": statistics.median(costs.topk(facts, WIDTH, QUERIES, K, ROUNDS)),
        "topk_mapped_ratio": timing.ratio(times, "ours, mapped", "plain, mapped"),
        "topk_peak_over_chunk": float(done.stdout),
    }


def on_device(toy: bool) -> Iterator[dict[str, float | list[float]]]:
    """`top_k` over ten million float16 vectors where they lie: time and memory of a plain topk.

    By chunks of the usual size, and of a million. Raises `SystemExit` where a score is further
    from the plain one, or from the product at the place that is named, than half precision allows.
    """
    facts, rounds = (3000, 2) if toy else (10**7, ROUNDS)
    chunks = {"": 700 if toy else CHUNK, "_chunk_1m": 1000 if toy else 2**20}
    device = timing.device()
    generator = torch.Generator(device).manual_seed(0)
    vectors = torch.empty(facts, WIDTH, dtype=torch.float16, device=device)
    for part in vectors.split(2**20):
        part.normal_(generator=generator)
    queries = vectors[:: facts // QUERIES][:QUERIES] + 0.5

    def plain() -> tuple[torch.Tensor, torch.Tensor]:
        return (queries @ vectors.T).topk(K, dim=1)

    expected = plain()[0].float()
    for name, chunk in chunks.items():

        def ours(chunk: int = chunk) -> tuple[torch.Tensor, torch.Tensor]:
            return top_k(queries, vectors, K, chunk=chunk)

        scores, places = ours()
        named = torch.einsum("qkw,qw->qk", vectors[places].float(), queries.float())
        for what, other in {"score": expected, "place": named}.items():
            off = ((scores.float() - other).abs() / other.abs().max()).max().item()
            yield {f"topk{name}_{what}_off_by": off}
            if off > 2**-9:
                raise SystemExit(f"top_k: a {what} is off by {off:.2g} of the largest score")
        yield {f"topk{name}_ratio": alternated(ours, plain, rounds)}
        if device.type == "cuda":
            yield {f"topk{name}_peak_gb": peak_gb(ours), "plain_peak_gb": peak_gb(plain)}


def peak_gb(call: Callable[[], object]) -> float:
    """Of GPU memory that a call takes beyond what is there."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


class Again(Bm25):
    """BM25 that scores every word of a query again, and sorts all facts."""

    sort = True

    def nearest(self, queries, k, read=()):
        if not self.sort:
            return super().nearest(queries, k, read)
        rows = [self.scores(query, after) for query, after in zip(queries, read, strict=True)]
        places = [np.argsort(-row, kind="stable")[:k] for row in rows]
        best = [row[at] for row, at in zip(rows, places, strict=True)]
        return torch.from_numpy(np.stack(best)), torch.from_numpy(np.stack(places))

    def scores(self, query, read=()):
        return self._of_text(" ".join([query, *(self.facts[at] for at in read)]))


def iterating(facts: int = 3000, count: int = 500) -> dict[str, float]:
    """Iterated BM25, four steps of a beam of five, over scoring each query whole again and sorting.

    `…_first`: while no fact's scores are known yet. `…_alike`: over whole queries with our choice
    of the best. Other chains are read where rounding parts near-equal means; one in ten may.
    """
    worlds = [World("train", number).facts for number in range(1 + facts // 500)]
    texts = list(dict.fromkeys(fact.text for world in worlds for fact in world))[:facts]
    asked = [q.question for q in questions("train", count, worlds=7)]
    rankers = {"ours": Bm25(texts), "over": Again(texts), "alike": Again(texts)}
    rankers["alike"].sort = False
    times: dict[str, list[float]] = defaultdict(list)
    read = {}
    for _ in range(ROUNDS):
        for name, ranker in rankers.items():
            start = time.process_time()
            read[name] = [held[0].facts for held in iterated(ranker, asked, [4] * count, beam=5)]
            times[name].append(time.process_time() - start)
    same = np.mean([a == b for a, b in zip(read["ours"], read["over"], strict=True)])
    if same < 0.9:
        raise SystemExit(f"iterated BM25 reads other chains: {same:.2f} are the same")
    over, alike = (
        [theirs / ours for theirs, ours in zip(times[name], times["ours"], strict=True)]
        for name in ("over", "alike")
    )
    return {
        "bm25_iterated_over": statistics.median(over[1:]),
        "bm25_iterated_first": over[0],
        "bm25_iterated_alike": statistics.median(alike[1:]),
    }


def drawing(count: int = 10_000) -> dict[str, float]:
    """Questions with their pools per CPU second, worlds included; those of chains in six worlds."""
    out = {}
    for name, draw, worlds in (("questions", questions, 16), ("chain_questions", chained, 6)):
        start = time.process_time()
        draw("train", count, worlds=worlds)
        out[f"{name}_per_s"] = count / (time.process_time() - start)
    return out


def nearly(evidence: Evidence, rng: random.Random) -> list[Edge]:
    """A graph as a retriever predicts it: right, or a few facts too many, left out, exchanged."""
    edges = {*evidence.edges}
    others = [i for i in range(len(evidence.facts)) if i not in evidence.nodes]
    rng.shuffle(others)
    for other in others[: rng.choice((0, 1, 1, 2, 4))]:
        there = sorted({end for edge in edges for end in edge} | {ROOT})
        kind, node = rng.randrange(3), rng.choice(there)
        if kind == 0 or node == ROOT:
            edges.add((node, other))
        elif kind == 1:
            edges = {edge for edge in edges if node not in edge}
        else:
            edges = {(other if u == node else u, other if v == node else v) for u, v in edges}
    return reached(edges)


def hostile(evidence: Evidence, rng: random.Random) -> list[Edge]:
    """A graph that takes longest: 25 edges among 12 facts, all reached, few of them alike."""
    order = rng.sample(range(len(evidence.facts)), 12)
    edges = {(rng.choice([ROOT, *order[:i]]), order[i]) for i in range(12)}
    while len(edges) < 25:
        i = rng.randrange(12)
        edges.add((rng.choice([ROOT, *order[:i]]), order[i]))
    return sorted(edges)


def reached(edges: set[Edge]) -> list[Edge]:
    """The edges that can be reached from the question, sorted."""
    there, size = {ROOT}, 0
    while len(there) > size:
        size = len(there)
        there |= {v for u, v in edges if u in there}
    return sorted(e for e in edges if e[0] in there)


def metrics(count: int = 10_000) -> dict[str, float]:
    """CPU seconds of the scores of all questions, and the share whose distance is not to be had."""
    rng, drawn = random.Random(0), questions("test", count, worlds=16)
    out = {}
    for name, predict in (("real", nearly), ("hostile", hostile)):
        pairs = [(evidence.edges, predict(evidence, rng)) for evidence in drawn]
        start = time.process_time()
        scores: Sequence[Scores] = [scored(gold, predicted) for gold, predicted in pairs]
        out[f"metrics_{name}_s"] = time.process_time() - start
        out[f"metrics_{name}_timed_out"] = sum(s.distance is None for s in scores) / count
    return out


def chain_metrics(count: int = 10_000) -> dict[str, float]:
    """CPU seconds of all metrics of chains, and how many times that slow ones take of the scores.

    Raises `SystemExit` where they differ.
    """
    rng, drawn = random.Random(0), questions("test", count, worlds=16)
    graphs = [nearly(evidence, rng) for evidence in drawn]
    chains = [depth_first(graph) for graph in graphs]
    rankings = [rng.sample(range(len(q.facts)), len(q.facts)) for q in drawn]

    def scores() -> list[ChainScores]:
        return [chain_scored(*case) for case in zip(drawn, chains, graphs, strict=True)]

    def others() -> None:
        step_accuracy(drawn, chains)
        stop_table(drawn, chains)
        for question, ranking in zip(drawn, rankings, strict=True):
            for k in KS:
                recall_at(ranking, question.nodes, k)
                full_chain_at(ranking, question.nodes, k)

    def slow() -> list[ChainScores]:
        return [slow_chains.scored(*case) for case in zip(drawn, chains, graphs, strict=True)]

    times = []
    for call in (scores, others, slow):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    for ours, theirs in zip(scores(), slow(), strict=True):
        if (ours.order is None) != (theirs.order is None) or not np.allclose(
            *([0 if value is None else value for value in astuple(s)] for s in (ours, theirs))
        ):
            raise SystemExit(f"metrics of chains differ: {ours} and {theirs}")
    return {"chain_metrics_s": times[0] + times[1], "chain_scores_speedup": times[2] / times[0]}


def retrieval() -> dict[str, float]:
    """All of it."""
    return search() | iterating() | drawing() | metrics() | chain_metrics()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, value in retrieval().items():
        print(f"{name:<28}{value:>12.4f}")
