"""Two towers among the methods (DPR, §4): an encoder fitted to find each gold fact of a question.

Questions and facts share one tower, of which all weights are fitted: of hashed words their linear
map, of any other encoder the whole. Its ranking by one query is cut as that of `dense` is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.towers import Contrast, Pair, fitted
from workbench.retrievers.baselines import Ranking, dense

MINED = 3
"""Wrong facts of its own pool beside each question; those of the batch come to them."""


@dataclass(frozen=True)
class TowerFit:
    """Training of the towers: `rounds` over the first `questions`, the negatives mined anew."""

    contrast: Contrast
    rounds: int
    questions: int


WORDS = TowerFit(Contrast(batch=32, learning_rate=1e-3), rounds=3, questions=2000)
"""Of hashed words. The rate was chosen on dev."""
SUBSET = TowerFit(Contrast(), rounds=2, questions=150)
"""Of an encoder beside small networks: a few of the training questions, which take CPU minutes."""
TUNED = TowerFit(Contrast(batch=32, learning_rate=2e-5), rounds=4, questions=10**6)
"""Where the networks tune their encoder along: all questions, at the usual rate for BERT."""


def fit_of(reads: str, encoder: Encoder) -> TowerFit:
    """The training that suits an encoder, beside networks that read it so (`train.Fit.reads`)."""
    if encoder.name == "lex":
        return WORDS
    return TUNED if reads == "tuned" else SUBSET


def rankings(
    questions: Mapping[str, Sequence[Evidence]], encoder: Encoder, fit: TowerFit, seed: int
) -> dict[str, list[Ranking]]:
    """`"dev"`, `"test"` → each question's pool by the cosine of vectors of the fitted towers.

    Raises `ModelError` for an encoder without weights to fit.
    """
    train = questions["train"][: fit.questions]
    draws: list[Callable[[Encoder], list[Pair]]] = [partial(pairs, train)] * fit.rounds
    rank = dense(fitted(encoder, draws, fit.contrast, seed))
    return {split: rank(questions[split]) for split in ("dev", "test")}


def pairs(questions: Sequence[Evidence], encoder: Encoder) -> list[Pair]:
    """From each question to each of its gold facts, the others ignored.

    Negatives: the `MINED` facts of the question's pool that are nearest to it and wrong.
    """
    out = []
    for q, ranking in zip(questions, dense(encoder)(questions), strict=True):
        gold = list(dict.fromkeys(q.facts[place] for place in q.nodes))
        wrong = [q.facts[place] for place in ranking if q.facts[place] not in gold][:MINED]
        for fact in gold:
            others = tuple(text for text in gold if text != fact)
            out.append(Pair(q.question, fact, tuple(wrong), others))
    return out
