"""What a trained reader answers from each evidence to the test questions (§4, reader ii)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.models.seq2seq import Seq2Seq
from workbench.papers import evidence_answers
from workbench.papers.evidence_answers import Answers
from workbench.papers.evidence_tables import Values
from workbench.papers.graphhop.study import Graphs, Study
from workbench.papers.parameters import seed_list
from workbench.papers.workers import Keep
from workbench.readers.trained import TUNED, ReaderFit
from workbench.retrieval.graphs import ROOT, Evidence

EVIDENCE = ("no_evidence", "all_facts", "top_k", "retrieved_evidence", "gold_evidence")
BEST = ("bgr", "forward", "one_hop", "bm25")
"""The first of these that was run retrieves for the reader."""
ONE_QUERY = ("two_towers", "dense", "bm25", "tfidf")
"""The first of these gives its top k, the facts nearest to the question."""


def run(
    study: Study, train: Sequence[Evidence], keep: Keep, model: Seq2Seq | None = None,
    networks: Path | None = None,
) -> Answers:  # fmt: skip
    """What a reader, trained on `train`, answers from each evidence to the test questions.

    `retrieved_evidence`, `top_k`: the graphs of the first of `BEST` and of `ONE_QUERY` that was
    run, seed by seed. Questions without an answer are neither learnt nor asked. Empty where there
    are none with one. `networks`: a folder where a training that was killed finds its last epoch.

    >>> answering.run(gh_study, questions["train"], partial(cached, "out/cache"))
    """
    train = [q for q in train if q.answer]
    asked = [i for i, q in enumerate(study.test) if q.answer]
    if not (train and asked):
        return {}
    test, fit = [study.test[i] for i in asked], TUNED if model else ReaderFit()
    seeds = seed_list(study.settings.seed, study.settings.seeds)
    evidence = {seed: evidence_of(study, asked, number) for number, seed in enumerate(seeds)}
    return evidence_answers.answers(train, test, evidence, fit, keep, model, networks)


def evidence_of(study: Study, asked: Sequence[int], number: int) -> dict[str, Graphs]:
    """Kind of `EVIDENCE` → a graph for each of the test questions at these places, at one seed.

    Without `retrieved_evidence` where none of `BEST` was run, nor `top_k` of `ONE_QUERY`.
    """
    test = [study.test[i] for i in asked]
    evidence: dict[str, Graphs] = {
        "no_evidence": [[] for _ in test],
        "all_facts": [[(ROOT, fact) for fact in range(len(q.facts))] for q in test],
    }
    for kind, methods in (("top_k", ONE_QUERY), ("retrieved_evidence", BEST)):
        if method := next((name for name in methods if name in study.predicted), None):
            graphs = study.predicted[method]
            evidence[kind] = [graphs[number % len(graphs)][i] for i in asked]
    return evidence | {"gold_evidence": [[*q.edges] for q in test]}


def right(study: Study, answers: Answers, of: Callable[[Evidence], bool]) -> dict[str, Values]:
    """Evidence → (`[seed][question]` 1 or 0, the same of ids), of those that were asked."""
    asked = [q for q in study.test if q.answer]
    return {name: evidence_answers.right(asked, seeds, of) for name, seeds in answers.items()}
