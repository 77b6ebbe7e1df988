"""What needs no training: rankings by one query, and the same scorers reading on (§2.2).

How many facts are taken, k of a ranking or m steps, is chosen on dev; as many as are gold is an
oracle, and a row of its own.
"""

from collections.abc import Callable, Mapping, Sequence

from workbench.retrieval.graphs import Evidence
from workbench.retrieval.index import Remembering, indexes_of
from workbench.retrieval.iterate import BEAM, Scorer, best_count, levels
from workbench.retrieval.lexical import Bm25, TfIdf
from workbench.retrievers.baselines import Rank, Ranking, best_k, dense, lexical

MOST = 7
"""Steps tried on dev at most."""
Chain = tuple[int, ...]
"""Places of facts in the order of reading."""
BY_WORDS: Mapping[str, type[Bm25] | type[TfIdf]] = {"tfidf": TfIdf, "bm25": Bm25}


def rank_by(name: str, encoder: Remembering | None) -> Rank:
    """The ranking of each question's pool by one of `paper.ONE_QUERY`."""
    return lexical(BY_WORDS[name]) if name in BY_WORDS else dense(encoder)


def cut(
    dev: Sequence[Evidence], test: Sequence[Evidence], rankings: Mapping[str, Sequence[Ranking]]
) -> tuple[int, list[Chain], list[Chain]]:
    """k by F1 of facts on dev; each test question's first k facts, and as many as are gold."""
    k = best_k(dev, rankings["dev"])
    ranked = rankings["test"]
    oracle = [tuple(row[: len(q.nodes)]) for q, row in zip(test, ranked, strict=True)]
    return k, [tuple(row[:k]) for row in ranked], oracle


def steps(method: str, dev: Sequence[Evidence], encoder: Remembering | None) -> int:
    """m, by F1 of facts on dev, of one of `paper.READ_ON`."""
    scorers, beam = _form(method, encoder)
    gold = [q.nodes for q in dev]
    return best_count(scorers(dev), [q.question for q in dev], gold, MOST, beam=beam)


def read_on(
    method: str, m: int, test: Sequence[Evidence], encoder: Remembering | None
) -> dict[str, list[Chain]]:
    """A scorer iterated, or with a beam: `"test"`, m facts of each; `"oracle"`, as many as are
    gold.
    """
    scorers, beam = _form(method, encoder)
    counts, sizes = [min(m, len(q.facts)) for q in test], [len(q.nodes) for q in test]
    most = [*map(max, counts, sizes)]
    held = [*levels(scorers(test), [q.question for q in test], most, beam=beam)]
    # A chain of so many steps is what the longer one was by then.
    chains = [[held[n - 1][i][0].facts for i, n in enumerate(of)] for of in (counts, sizes)]
    return {"test": chains[0], "oracle": chains[1]}


def _form(
    method: str, encoder: Remembering | None
) -> tuple[Callable[[Sequence[Evidence]], Sequence[Scorer]], int]:
    name, _, form = method.rpartition("_")
    return _scorers(name, encoder), BEAM if form == "beam" else 1


def _scorers(
    name: str, encoder: Remembering | None
) -> Callable[[Sequence[Evidence]], Sequence[Scorer]]:
    if name in BY_WORDS:
        return lambda questions: [BY_WORDS[name](q.facts) for q in questions]
    return lambda questions: indexes_of(encoder, [q.facts for q in questions])
