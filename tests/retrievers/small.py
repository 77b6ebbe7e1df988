"""Small retrievers with random weights, and the same one a state at a time."""

from dataclasses import replace

import torch

from workbench.retrieval.graphs import ROOT
from workbench.retrievers.lexicon import LexicalEncoder, vocabulary
from workbench.retrievers.model import PATH, PathRetriever, Retriever
from workbench.worlds.pools import questions

QUESTIONS = [
    # Pools of different sizes.
    replace(q, facts=q.facts[: len(q.facts) - i % 3], edges=((ROOT, 0),), id=f"q{i}")
    for i, q in enumerate(questions("train", 24, worlds=2, pool=12))
]


def lexical(direction: str = "forward", seed: int = 0) -> Retriever:
    torch.manual_seed(seed)
    encoder = LexicalEncoder(vocabulary(QUESTIONS), 16, 2)
    retriever = (PathRetriever if direction == PATH else Retriever)(encoder, direction, 16, 2)
    # Scores that are far from one another, on both sides of any threshold.
    torch.nn.init.normal_(retriever.out.weight, std=1.0)
    return retriever.eval()


def naive(retriever: Retriever, question, path=()) -> list[float]:
    """Logits of all facts behind a path, by the formulas of §2.2, a fact at a time, unpadded."""
    return naive_state(retriever, question, path)[0]


def naive_state(retriever: Retriever, question, path=()) -> tuple[list[float], torch.Tensor]:
    """`naive`, and the state `[1, tokens, d]` there."""
    encoder, pool = retriever.encoder, retriever.encoder.pool([question])

    seen = {last: encoder.facts(pool, torch.tensor([last]))[0] for last in (ROOT, *path)}

    def fact(v: int, last: int) -> torch.Tensor:
        return seen[last][v][pool.facts_there[0, v]][None]

    def every(x: torch.Tensor) -> torch.Tensor:
        return torch.ones(x.shape[:2], dtype=torch.bool)

    def block(reading, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return reading(x, every(x), y, every(y))

    def path_layer(h: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return retriever.norm(torch.nn.functional.elu(retriever.path(h)) + before)

    state = encoder.questions(pool)
    state, last = path_layer(state, state), ROOT
    for v in path:
        state = path_layer(block(retriever.step_reading, state, fact(v, last)), state)
        last = v
    scores = []
    for v in range(len(question.facts)):
        read = block(retriever.score_reading, fact(v, last), state)[0]
        scores.append(retriever.out(read.mean(0) if retriever.head == "tokens" else read[0]))
    return torch.cat(scores).tolist(), state
