"""The path retriever (ReasonChainQA, arXiv 2210.08763, §2.3): whole chains, by a beam.

The forward network with an end of its own. Of a question whose evidence branches it learns the
gold facts in the order of its program.
"""

import random
from collections.abc import Sequence
from pathlib import Path as File

import torch

from workbench import arguments
from workbench.models.encoders import Encoder
from workbench.retrieval.chains import chain_of
from workbench.retrieval.graphs import Evidence, checked
from workbench.retrieval.steps import Chain
from workbench.retrievers.chain_loss import corrupted, nearest_facts, path_loss
from workbench.retrievers.lexicon import names, vocabulary
from workbench.retrievers.model import PATH, PathRetriever
from workbench.retrievers.search import DIGITS, TOGETHER
from workbench.retrievers.train import Fit, built, fitted

BEAM, MOST = 4, 8
"""Chains of a question that go on at once, and facts of one (§2.3)."""


def trained_paths(
    questions: Sequence[Evidence],
    settings: Fit,
    seed: int,
    *,
    chain_weight: float = 1.0,
    encoder: Encoder | None = None,
    state: File | None = None,
) -> PathRetriever:
    """A path retriever, after its last epoch; `chain_weight`: λ of `chain_loss.path_loss`.

    Wrong chains are drawn anew in each epoch. The same for the same seed, on one thread of a CPU;
    `encoder`, `state` and errors as of `train.coupled`, and `ValueError` for a weight below 0.

    >>> paths = trained_paths(questions("train", 600, pool=16, types=("What",)), Fit(), 0)
    """
    arguments.seed_number(seed)
    arguments.finite("chain_weight", chain_weight, 0)
    questions = arguments.listed("questions", questions)
    for question in questions:
        checked(question.edges, len(question.facts), question.id)
    gold = [chain_of(question) for question in questions]
    near = [nearest_facts(q.facts, chain) for q, chain in zip(questions, gold, strict=True)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        known = (names if settings.names else vocabulary)(questions)
        (retriever,) = built(settings, (PATH,), known, encoder)

        def of_batch(rows: Sequence[int], epoch: int) -> torch.Tensor:
            chains = []
            for i in rows:
                rng = random.Random(f"{seed} {epoch} {i}")
                wrong = corrupted(gold[i], near[i], len(questions[i].facts), rng)
                chains.append([gold[i], *wrong])
            pool = retriever.encoder.pool([questions[i] for i in rows])
            return path_loss(retriever, pool, chains, settings.positive_weight, chain_weight)

        fitted(retriever.train(), len(questions), settings, seed, of_batch, state)
    return retriever.eval()


@torch.no_grad()
def best_paths(
    retriever: PathRetriever,
    questions: Sequence[Evidence],
    *,
    beam: int = BEAM,
    most: int = MOST,
) -> list[list[Chain]]:
    """Each question's chains, the best first: up to `beam`, of up to `most` facts, each ended.

    As `retrieval.steps.follow` with the network's steps, for many questions at once: the score is
    the mean log-probability of a chain's hops and its end. Raises `ValueError` for a network of
    another kind, numbers out of range, and questions without facts.

    >>> best_paths(paths, questions("dev", 120, pool=16))[0][0].facts
    """
    arguments.one_of("direction", retriever.direction, (PATH,))
    arguments.whole("beam", beam, 1)
    arguments.whole("most", most, 1)
    for question in arguments.listed("questions", questions, empty=True):
        arguments.listed(f"facts of question {question.id!r}", question.facts)
    starts = range(0, len(questions), TOGETHER)
    parts = (_beams(retriever, questions[at : at + TOGETHER], beam, most) for at in starts)
    return [chains for part in parts for chains in part]


def _beams(
    retriever: PathRetriever, questions: Sequence[Evidence], beam: int, most: int
) -> list[list[Chain]]:
    states = retriever.start(retriever.encoder.pool(questions))
    held = [[Chain((), (), None)] for _ in questions]
    here: list[tuple[int, Chain]] = [(row, chain) for row, (chain,) in enumerate(held)]
    while here:
        odds = torch.sigmoid(retriever.scores(states)).double()
        there = states.pool.questions_there[states.rows]
        stops = torch.sigmoid(retriever.ends(states.tokens, there)).double()
        grown = [[(chain.score, chain, -1) for chain in of if chain.stop is not None]
                 for of in held]  # fmt: skip
        rows = zip(here, odds.tolist(), stops.tolist(), strict=True)
        for i, ((row, chain), of_facts, stop) in enumerate(rows):
            ended = Chain(chain.facts, chain.probabilities, round(stop, DIGITS))
            grown[row].append((ended.score, ended, -1))
            if len(chain.facts) == most:
                continue
            left = ((-round(p, DIGITS), v) for v, p in enumerate(of_facts) if v not in chain.facts)
            for less, v in sorted(left)[:beam]:
                if less:
                    longer = Chain((*chain.facts, v), (*chain.probabilities, -less), None)
                    grown[row].append((longer.score, longer, i))
        best = [sorted(of, key=lambda entry: (-entry[0], entry[1].facts))[:beam] for of in grown]
        held = [[chain for _, chain, _ in of] for of in best]
        going = [(row, chain, i) for row, of in enumerate(best) for _, chain, i in of
                 if chain.stop is None]  # fmt: skip
        here = [(row, chain) for row, chain, _ in going]
        if here:
            steps = [(i, chain.facts[-1]) for _, chain, i in going]
            states = retriever.step(states, *states.rows.new_tensor(steps).T)
    return held
