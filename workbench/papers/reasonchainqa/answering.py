"""What readers answer from each evidence, and whether it rests on it (§2.4, §4)."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.generation.complete import Completer
from workbench.generation.sample_store import SampleStore
from workbench.models.seq2seq import Seq2Seq
from workbench.papers import evidence_answers
from workbench.papers.evidence_answers import Answers, answers
from workbench.papers.evidence_tables import Values
from workbench.papers.parameters import seed_list
from workbench.papers.reasonchainqa.single import Chain
from workbench.papers.reasonchainqa.study import Study, Which
from workbench.papers.workers import Keep
from workbench.readers.prompts import replies
from workbench.readers.trained import TUNED, ReaderFit
from workbench.retrieval.answers import normalised
from workbench.retrieval.chain_metrics import right_start
from workbench.retrieval.chains import chain_of
from workbench.retrieval.graphs import ROOT, Edge, Evidence
from workbench.retrievers.baselines import star

READ = ("bm25", "bm25_beam", "dense", "two_towers", "one_hop", "forward", "greedy", "path")
"""Methods whose chains a reader is handed, each a row."""
BEST = tuple(reversed(READ))
"""The first of these that was run is `retrieved_evidence`, in this order on every data."""
COMPLETED = ("no_evidence", "all_evidence", "retrieved_evidence", "gold_shuffled", "gold_evidence")
"""What a language model as it comes is asked with."""


def is_yes_no(question: Evidence) -> bool:
    """Whether a question asks for yes or no: by its kind of answer, program, or answer itself."""
    told_so = question.answer_kind == "bool" or question.reasoning == "Bool"
    return told_so or normalised(question.answer) in ("yes", "no")


KINDS: dict[str, Which] = {
    "": lambda q: True, "_yes_no": is_yes_no, "_open": lambda q: not is_yes_no(q)
}  # fmt: skip
"""End of a metric's name → the questions it is of: yes or no is right half the time by chance."""
READ_OFTEN = 15_000
"""Questions that the small reader learns from, each as often as it is learnt (10 times 1,500)."""
TRIES = 100
"""Orders drawn before all are taken to be right: of two facts in line half are wrong."""
REMOVED = "without_"
"""Begins the kinds of evidence that lack a gold fact, by its place in the chain from 0."""


def line(chain: Sequence[int]) -> list[Edge]:
    """A chain as a graph: a path from the question."""
    return [*zip((ROOT, *chain), chain, strict=False)]


def asked_of(study: Study) -> list[int]:
    """Places of the test questions that have an answer."""
    return [i for i, q in enumerate(study.test) if q.answer]


def evidence_of(study: Study, asked: Sequence[int], number: int = 0) -> dict[str, list[list[Edge]]]:
    """Kind of evidence → a graph for each of the test questions at these places, at one seed.

    No facts; all facts; what each of `READ` retrieved, by one query as a set, and the first of
    `BEST`; the gold facts as a set, in order, and in another order.
    """
    test = [study.test[i] for i in asked]
    gold = [chain_of(q) for q in test]
    out: dict[str, list[list[Edge]]] = {
        "no_evidence": [[] for _ in test],
        "all_evidence": [star(range(len(q.facts))) for q in test],
    }
    for method in (m for m in READ if m in study.predicted):
        chains = study.predicted[method]
        told = star if method in study.rankings else line
        out[method] = [told(chains[number % len(chains)][i]) for i in asked]
    if best := next((m for m in BEST if m in out), ""):
        out["retrieved_evidence"] = out[best]
    out["gold_set"] = [star(chain) for chain in gold]
    out["gold_shuffled"] = [
        line(shuffled(chain, q.edges, q.id)) for chain, q in zip(gold, test, strict=True)
    ]
    return out | {"gold_evidence": [line(chain) for chain in gold]}


def shuffled(chain: Chain, edges: Sequence[Edge], seed: str) -> Chain:
    """The facts in an order that is wrong by the gold `edges`; as it falls where all are right."""
    rng, other = random.Random(f"shuffled {seed}"), list(chain)
    for _ in range(TRIES):
        rng.shuffle(other)
        if right_start(edges, other) < len(other):
            break
    return tuple(other)


def removed(study: Study, asked: Sequence[int]) -> dict[str, list[list[Edge]]]:
    """`without_<j>` → the gold chains without their fact j; of shorter chains all that is left."""
    gold = [chain_of(study.test[i]) for i in asked]
    return {
        f"{REMOVED}{j}": [line(chain[:j] + chain[j + 1 :]) for chain in gold]
        for j in range(max(map(len, gold), default=0))
    }


def run(
    study: Study, train: Sequence[Evidence], keep: Keep, model: Seq2Seq | None = None,
    folder: Path | None = None,
) -> Answers:  # fmt: skip
    """What a reader, trained on the gold chains of `train`, answers to the test questions.

    From each of `evidence_of` and `removed`. Questions without an answer are neither learnt nor
    asked; empty where there are none with one. `folder`: where a training that was killed finds its
    last epoch.

    >>> answering.run(rc_study, questions["train"], partial(cached, "out/cache"))
    """
    train = [replace(q, edges=tuple(line(chain_of(q)))) for q in train if q.answer]
    asked = asked_of(study)
    if not (train and asked):
        return {}
    test, fit = [study.test[i] for i in asked], TUNED if model else small_fit(len(train))
    evidence = {
        seed: evidence_of(study, asked, number) | removed(study, asked)
        for number, seed in enumerate(seed_list(study.settings.seed, study.settings.seeds))
    }
    read = answers(train, test, evidence, fit, keep, model, folder)
    return read | {"majority": [majority(train, test)]}


def small_fit(count: int) -> ReaderFit:
    """Training of the small reader: as many steps for any number of questions from 600 on."""
    return ReaderFit(epochs=min(ReaderFit.epochs, max(1, round(READ_OFTEN / count))))


def majority(train: Sequence[Evidence], test: Sequence[Evidence]) -> list[str]:
    """Of each question the most frequent answer of its kind in training; of equal ones the first
    by spelling.
    """
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for q in train:
        counts[is_yes_no(q)][q.answer] += 1
    best = {kind: min(of, key=lambda a, of=of: (-of[a], a), default="")
            for kind, of in counts.items()}  # fmt: skip
    return [best[is_yes_no(q)] for q in test]


def complete(
    study: Study,
    model: Completer,
    *,
    chat: bool = True,
    store: SampleStore | str | Path | None = None,
) -> Answers:
    """What a language model as it comes answers from no, all, retrieved, gold and shuffled facts.

    To the first `answered` test questions of the settings. With a `store` nothing is asked twice.
    Raises as `generation.complete`.

    >>> answering.complete(rc_study, wb.load("smollm2"), store="out/samples")
    """
    asked = asked_of(study)[: study.settings.answered]
    test = [study.test[i] for i in asked]
    evidence = {name: of for name, of in evidence_of(study, asked).items() if name in COMPLETED}
    of_kind = replies(model, test, evidence, chat=chat, store=store)
    return {name: [row] for name, row in of_kind.items()}


def right(study: Study, answers: Answers, name: str, of: Which = KINDS[""]) -> Values:
    """1 or 0 and the questions' ids, both `[seed][question]`, of those that were asked."""
    return evidence_answers.right([study.test[i] for i in asked_of(study)], answers[name], of)


def drops(study: Study, answers: Answers, last: bool = False) -> Values:
    """Right from the gold chain, less the mean of right without each of its facts (§4).

    `[seed][question]`, and the ids. 0 where what is missing is not missed; 1 where each fact is
    needed. `last`: without its last fact alone.
    """
    asked = [study.test[i] for i in asked_of(study)]
    full, ids = right(study, answers, "gold_evidence")
    without = [right(study, answers, name)[0] for name in answers if name.startswith(REMOVED)]
    rows = []
    for seed, row in enumerate(full):
        fewer = [[of[seed][i] for of in without[: len(chain_of(q))]] for i, q in enumerate(asked)]
        rows.append([value - (less[-1] if last else float(np.mean(less)))
                     for value, less in zip(row, fewer, strict=True)])  # fmt: skip
    return rows, ids


def kinds(answers: Mapping[str, Any]) -> list[str]:
    """The kinds of evidence that tables show, those without a fact left out."""
    return [name for name in answers if not name.startswith(REMOVED)]
