"""Facts ranked by the words that they share with a query: BM25 and TF-IDF.

A query may be a question with facts that were read since (arXiv 2210.08763, iterated retrieval).
Both are sums over its words, so that nothing is indexed or split into words again.
"""

import logging
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import bm25s
import numpy as np
import torch
from scipy.sparse import csr_array

from workbench.arguments import listed, whole
from workbench.models.lex_encoder import words as words

log = logging.getLogger(__name__)

K1, B = 1.5, 0.75
DIGITS = 5
"""Of a score by which chains are chosen: a sum's last bits are not the same on every machine."""
_KEPT = 2**25
"""Scores of texts that BM25 keeps, 128 MB."""
_HALF = re.compile("[\ud800-\udfff]")


class Lexical(ABC):
    """What both are: texts, their scores by a query, and the best of these."""

    def __init__(self, facts: Sequence[str]) -> None:
        self.facts, self._told = texts("facts", facts), False

    def scores(self, query: str, read: Sequence[int] = ()) -> np.ndarray:
        """The score of every fact `[facts]`, by a query and the facts at the places `read`.

        BM25's are float32, cosines float64; all 0 where none of these has a word of the facts, of
        which the log tells once. Raises `ValueError` for places that are not those of facts.
        """
        scores = self._scores(query, places_of(read, len(self.facts)))
        if not scores.any() and not self._told:
            self._told = True
            log.warning(
                "%r has no word of the facts; all are scored 0 (told once for these %d facts)",
                query[:60], len(self.facts),
            )  # fmt: skip
        return scores

    @abstractmethod
    def _scores(self, query: str, read: Sequence[int]) -> np.ndarray:
        """As `scores`, of places that are known to be right."""

    def nearest(
        self, queries: Sequence[str], k: int, read: Sequence[Sequence[int]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores, rounded, and places of the `k` best facts, both `[queries, k]`.

        The best first; of equal ones the first in place. `read`: places of the facts that follow
        each query, none where it is empty. Raises `ValueError` for `k` outside 1 to the number of
        facts, queries that are no texts, and places that are not those of facts.

        >>> scores, places = Bm25(["A gate.", "A door."]).nearest(["Which gate?"], 1)
        """
        queries = texts("queries", queries)
        whole("k", k, 1, len(self.facts))
        best, near = [], []
        for query, after in zip(queries, after_each(queries, read), strict=True):
            scores = self.scores(query, after)
            near.append(ranked(scores, k, DIGITS))
            best.append(scores[near[-1]].round(DIGITS))
        return torch.from_numpy(np.stack(best)), torch.from_numpy(np.array(near))


class Bm25(Lexical):
    """BM25 (Robertson's weights as in Lucene, k1 1.5, b .75) over facts.

    >>> Bm25(["A gate.", "A door."]).scores("Which gate?")
    """

    def __init__(self, facts: Sequence[str]) -> None:
        """Index the facts. Raises `ValueError` for none, or one that is no text."""
        super().__init__(facts)
        self._index = bm25s.BM25(k1=K1, b=B)
        self._index.index([words(fact) for fact in self.facts], show_progress=False)
        self._scored = lru_cache(max(1, _KEPT // len(self.facts)))(self._of_text)

    def _scores(self, query: str, read: Sequence[int]) -> np.ndarray:
        # A sum over the words of the query, each as often as it is there: that of a query with
        # facts is what its parts have together, and each part is scored once.
        total = self._scored(query).copy()
        for place in read:
            total += self._scored(self.facts[place])
        return total

    def _of_text(self, text: str) -> np.ndarray:
        known = self._index.get_tokens_ids(words(text))
        if not known:
            return np.zeros(len(self.facts), np.float32)
        return self._index.get_scores_from_ids(known)


class TfIdf(Lexical):
    """Cosines of TF-IDF vectors (smooth idf, as scikit-learn's) over facts.

    >>> TfIdf(["A gate.", "A door."]).scores("Which gate?")
    """

    def __init__(self, facts: Sequence[str]) -> None:
        """Index the facts. Raises as `Bm25`."""
        super().__init__(facts)
        counts = [Counter(words(fact)) for fact in self.facts]
        self._place = {word: i for i, word in enumerate(sorted(set().union(*counts)))}
        places = [self._place[word] for of_fact in counts for word in of_fact]
        there = np.bincount(np.array(places, int), minlength=len(self._place))
        self._idf = np.log((1 + len(counts)) / (1 + there)) + 1
        often = np.array([count for of_fact in counts for count in of_fact.values()])
        flat = often * self._idf[places], places, np.cumsum([0, *map(len, counts)])
        self._vectors = csr_array(flat, shape=(len(counts), len(self._place)))
        self._lengths = np.sqrt(self._vectors.power(2).sum(1))

    def _scores(self, query: str, read: Sequence[int]) -> np.ndarray:
        # The vector of a query with facts, before it has length 1, is the sum of theirs.
        vector = np.zeros(len(self._place))
        for word in words(query):
            if word in self._place:
                vector[self._place[word]] += self._idf[self._place[word]]
        rows = self._vectors
        for place in read:
            span = slice(rows.indptr[place], rows.indptr[place + 1])
            vector[rows.indices[span]] += rows.data[span]
        length = np.linalg.norm(vector)
        # A fact or a query without a word is scored 0.
        return rows @ vector / np.where(self._lengths * length, self._lengths * length, 1)


def places_of(read: Sequence[int], count: int) -> list[int]:
    """Places of facts that were read. Raises `ValueError` for what is not one of `count`."""
    read = listed("read", read, empty=True)
    return [whole(f"read[{j}]", at, 0, count - 1) for j, at in enumerate(read)]


def after_each(queries: Sequence[str], read: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """The places `read` after each query, none where it is empty. Raises `ValueError` for fewer."""
    if len(read) not in (0, len(queries)):
        raise ValueError(f"read has places for {len(read)} queries; there are {len(queries)}")
    return read if len(read) else [()] * len(queries)


def texts(name: str, values: Sequence[str]) -> list[str]:
    """The texts of a list. Raises `ValueError` for none, one string, or one that is no text.

    A set has another order in each process, and half a character is no text: they are refused.
    """
    if isinstance(values, set | frozenset):
        raise ValueError(f"{name} is a set, which has no order; give a list")
    values = listed(name, values)
    for i, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name}[{i}] is {value!r:.60}; each must be a text that is not blank")
        if _HALF.search(value):
            raise ValueError(f"{name}[{i}] is {value!r:.60}: half a character (a lone surrogate)")
    return values


def ranked(scores: np.ndarray, k: int, digits: int | None = None) -> list[int]:
    """The places of the `k` highest scores, the highest first; of equal ones the first in place.

    `digits`: to which scores are rounded first.
    """
    most = min(k, len(scores))
    if not most:
        return []
    # No sort of all of them: only of those that may be no worse than the last of the best.
    apart = scores.copy()
    apart.partition(len(scores) - most)
    least, step = apart[-most], 0.0 if digits is None else 10.0**-digits
    near = (scores >= least - 2 * step).nonzero()[0]
    values = scores[near] if digits is None else scores[near].round(digits)
    return near[(-values).argsort(kind="stable")][:most].tolist()
