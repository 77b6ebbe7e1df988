"""The trained networks: what each retrieves for every split, kept on disk; thresholds of dev."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.models.encoders import Encoder
from workbench.papers.reasonchainqa.paper import Settings
from workbench.papers.reasonchainqa.single import Chain
from workbench.readers.marks import ordered
from workbench.retrieval.chain_metrics import right_start
from workbench.retrieval.chains import depth_first
from workbench.retrieval.graphs import Evidence, ScoredEdge, nodes
from workbench.retrieval.steps import Stepper
from workbench.retrievers import checkpoint, fuse
from workbench.retrievers.model import PATH, Retriever
from workbench.retrievers.paths import best_paths, trained_paths
from workbench.retrievers.search import retrieved
from workbench.retrievers.stepping import stepper_of
from workbench.retrievers.train import RELEASED, Fit, trained

LONGEST = 96
"""Tokens of a text that a tuned encoder reads: a question that follows four relations has more
than 30 (§5)."""
THRESHOLDS = (0.05, 0.1, *fuse.THRESHOLDS, 0.8, 0.9)
Views = dict[str, dict[str, Any]]
"""Split → what a network retrieves there, for each question: `"edges"`, all likely ones, scored;
`"chain"`, the likeliest fact after each; `"ranking"`, all facts by one query; `"paths"`, of `path`
its chains, the best first, each with the probabilities of its hops and of its end."""


def fit_of(settings: Settings, encoder: Encoder | None = None) -> Fit:
    """Size and training of a network; above an encoder that is tuned along, of that one's size."""
    fit = Fit(
        settings.d, settings.heads, settings.epochs, settings.batch, settings.learning_rate,
        reads=settings.reads, max_tokens=LONGEST,
    )  # fmt: skip
    if settings.reads == "tuned":
        size = {"d": encoder.width, "heads": encoder.hf.config.num_attention_heads}
        fit = replace(fit, **RELEASED, **size)
    return fit


def searched(
    questions: Mapping[str, Sequence[Evidence]],
    settings: Settings,
    direction: str,
    seed: int,
    encoder: Encoder | None = None,
    place: Path | None = None,
) -> Views:
    """What a network, `one_hop`, `forward` or `path`, retrieves for every split but train.

    `place`: a folder named by all it depends on, where it is kept; one that is there is not trained
    again, and a training that was killed goes on from its last epoch.
    """
    fit = fit_of(settings, encoder)
    state = place.with_name(f"training-{place.name}") if place else None
    above_encoder = encoder if fit.reads != "words" else None
    if place and place.exists():
        retriever = checkpoint.load(place, above_encoder, direction=direction)[0]
    elif direction == PATH:
        retriever = trained_paths(
            questions["train"], fit, seed, chain_weight=settings.chain_weight,
            encoder=above_encoder, state=state,
        )  # fmt: skip
    else:
        retriever = trained(questions["train"], fit, direction, seed, above_encoder, state)
    out = {split: _views(retriever, of, settings.beam)
           for split, of in questions.items() if split != "train"}  # fmt: skip
    if place and not place.exists():
        edges = out["dev"].get("edges")
        thresholds = {"τ": threshold(questions["dev"], edges, direction)} if edges else {}
        data = place.name.rpartition("-")[2]
        checkpoint.save(retriever, place, fit, seed=seed, data=data, thresholds=thresholds)
    if state and state.exists():
        shutil.rmtree(state)
    return out


def _views(retriever: Retriever, questions: Sequence[Evidence], beam: int) -> dict[str, Any]:
    if retriever.direction == PATH:
        chains = best_paths(retriever, questions, beam=beam)
        return {"paths": [[[c.facts, c.probabilities, c.stop] for c in of] for of in chains]}
    if retriever.direction == "one_hop":
        most = max(len(q.facts) for q in questions)
        edges = retrieved(retriever, questions, above=0.0, states=most + 1, edges=most)
        ranking = [(*(best := by_score(of)), *(v for v in range(len(q.facts)) if v not in best))
                   for q, of in zip(questions, edges, strict=True)]  # fmt: skip
        return {"edges": edges, "ranking": ranking}
    edges, chain = (retrieved(retriever, questions, greedy=greedy) for greedy in (False, True))
    return {"edges": edges, "chain": chain}


def stepper(place: Path, encoder: Encoder | None = None) -> Stepper:
    """A network that a study kept, as a stepper for `wb.explain` and `wb.ui.chain_steps`.

    Raises as `checkpoint.load`.

    >>> wb.ui.chain_steps(question, facts, stepper(rc_study.networks["path"]))
    """
    return stepper_of(checkpoint.load(place, encoder)[0])


def by_score(edges: Sequence[ScoredEdge]) -> Chain:
    """The facts that edges lead to, the most probable first; of equal ones the first in place."""
    return tuple(v for _, v, _ in sorted(edges, key=lambda edge: (-edge[2], edge[1])))


def above(edges: Sequence[ScoredEdge], tau: float, method: str) -> Chain:
    """The facts of edges above a threshold as a chain: of `one_hop` the most probable first.

    Else each after those that lead to it, a branch to its end before the next; where two lead to
    each other, as they are come across.
    """
    if method == "one_hop":
        return by_score([edge for edge in edges if edge[2] > tau])
    likely = fuse.soft(edges, (), 1.0, tau)
    chain = depth_first(likely)
    # Two facts may each lead to the other, read from different paths.
    return chain if len(chain) == len(nodes(likely)) else tuple(ordered(likely))


def threshold(dev: Sequence[Evidence], edges: Sequence[Sequence[ScoredEdge]], method: str) -> float:
    """The threshold with the most chains right; of `one_hop`, which has no order, sets of facts.

    Right is as `chain_metrics.chain_scored` has `chain_exact`.
    """

    def right(tau: float) -> int:
        pairs = [(q, above(of, tau, method)) for q, of in zip(dev, edges, strict=True)]
        if method == "one_hop":
            return sum({*q.nodes} == {*chain} for q, chain in pairs)
        return sum(right_start(q.edges, chain) == len(q.nodes) == len(chain) for q, chain in pairs)

    return max(THRESHOLDS, key=right)
