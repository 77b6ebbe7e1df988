"""Facts ranked by the words that they share with a query: BM25 and TF-IDF."""

import logging
import re
from collections import Counter
from collections.abc import Sequence

import bm25s
import numpy as np
from scipy.sparse import csr_array

from workbench.arguments import listed
from workbench.models.lex_encoder import words as words

log = logging.getLogger(__name__)

K1, B = 1.5, 0.75
_HALF = re.compile("[\ud800-\udfff]")


class Bm25:
    """BM25 (Robertson's weights as in Lucene, k1 1.5, b .75) over facts.

    >>> Bm25(["A gate.", "A door."]).scores("Which gate?")
    """

    def __init__(self, facts: Sequence[str]) -> None:
        """Index the facts. Raises `ValueError` for none, or one that is no text."""
        self.count = len(texts("facts", facts))
        self._index = bm25s.BM25(k1=K1, b=B)
        self._index.index([words(fact) for fact in facts], show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """The score of every fact, float32 `[facts]`; 0 for a query without a word of theirs.

        A sum over the words of the query: that of a longer query is what its parts have together.
        """
        known = self._index.get_tokens_ids(words(query))
        if not known:
            log.warning("%r has no word of the facts; all are scored 0", query[:60])
            return np.zeros(self.count, np.float32)
        return self._index.get_scores_from_ids(known)


class TfIdf:
    """Cosines of TF-IDF vectors (smooth idf, as scikit-learn's) over facts.

    >>> TfIdf(["A gate.", "A door."]).scores("Which gate?")
    """

    def __init__(self, facts: Sequence[str]) -> None:
        """Index the facts. Raises as `Bm25`."""
        counts = [Counter(words(fact)) for fact in texts("facts", facts)]
        self._place = {word: i for i, word in enumerate(sorted(set().union(*counts)))}
        there = np.zeros(len(self._place))
        for of_fact in counts:
            there[[self._place[word] for word in of_fact]] += 1
        self._idf = np.log((1 + len(facts)) / (1 + there)) + 1
        self._vectors = self._rows(counts)

    def scores(self, query: str) -> np.ndarray:
        """The cosine of every fact, float64 `[facts]`; 0 for a query without a word of theirs."""
        vector = self._rows([Counter(word for word in words(query) if word in self._place)])
        if not vector.nnz:
            log.warning("%r has no word of the facts; all are scored 0", query[:60])
        return (self._vectors @ vector.T).toarray()[:, 0]

    def _rows(self, counts: Sequence[Counter[str]]) -> csr_array:
        places = [[self._place[word] for word in of_text] for of_text in counts]
        weights = [
            np.array([*of_text.values()]) * self._idf[at]
            for of_text, at in zip(counts, places, strict=True)
        ]
        unit = [weight / (np.linalg.norm(weight) or 1) for weight in weights]
        ends = np.cumsum([0, *map(len, places)])
        flat = np.concatenate([*unit, []]), np.concatenate([*places, []]).astype(int), ends
        return csr_array(flat, shape=(len(counts), len(self._place)))


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


def ranked(scores: np.ndarray, k: int) -> list[int]:
    """The places of the `k` highest scores, the highest first; of equal ones the first in place."""
    return np.argsort(-scores, kind="stable")[:k].tolist()
