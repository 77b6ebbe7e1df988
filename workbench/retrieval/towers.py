"""A sentence encoder fitted to queries and the facts that answer them, by contrast (DPR, §4)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional
from tqdm.auto import tqdm

from workbench import arguments
from workbench.errors import ModelError
from workbench.models.encoders import Encoder
from workbench.retrieval.lexical import texts
from workbench.retrieval.search import top_k


@dataclass(frozen=True)
class Pair:
    """A query and a fact that it is to find.

    `negatives`: facts that are wrong for it. `ignored`: facts that are neither, as others that
    are right, or that have been read.
    """

    query: str
    fact: str
    negatives: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """`scale`: of cosines in the softmax, 1 over its temperature. Pairs of a round come once."""

    batch: int = 12
    learning_rate: float = 5e-5
    scale: float = 20.0


def fitted(
    encoder: Encoder,
    rounds: Sequence[Callable[[Encoder], Sequence[Pair]]],
    settings: Contrast,
    seed: int,
) -> Encoder:
    """A copy of the encoder, fitted to the pairs that each round draws; one tower for both sides.

    A round is given the encoder as it is by then, to look for negatives (`hardest`). The rate falls
    to 0 over the rounds. The same for the same seed and number of threads. Raises `ValueError` for
    a round without pairs, `ModelError` for an encoder without weights to fit.

    >>> better = fitted(wb.load_encoder("minilm"), [lambda encoder: pairs], Contrast(), 0)
    """
    arguments.seed_number(seed)
    hf = copy.deepcopy(encoder.hf).eval()
    weights = [weight.requires_grad_() for weight in hf.parameters() if weight.is_floating_point()]
    if not weights:
        raise ModelError(f"{encoder.name} has no weights to fit; give a sentence encoder")
    current = replace(encoder, hf=hf, name=f"{encoder.name}, fitted")
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    progress = tqdm(rounds, desc=current.name, unit="round", mininterval=5)
    for number, draw in enumerate(progress):
        pairs = arguments.listed("pairs", draw(current))
        order = torch.randperm(len(pairs), generator=generator).tolist()
        for start in range(0, len(pairs), settings.batch):
            passed = (number + start / len(pairs)) / len(rounds)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - passed)
            optimizer.zero_grad()
            batch = [pairs[i] for i in order[start : start + settings.batch]]
            loss(current, batch, settings.scale).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
    hf.requires_grad_(False)
    return current


def loss(encoder: Encoder, pairs: Sequence[Pair], scale: float) -> torch.Tensor:
    """Mean cross-entropy of each query's fact among the facts and negatives of all pairs.

    What another pair has as the fact of the same query, and what a pair ignores, is left out of its
    sum. Equal texts count once. With gradients; a scalar.
    """
    facts = list(dict.fromkeys(text for p in pairs for text in (p.fact, *p.negatives)))
    at = {text: i for i, text in enumerate(facts)}
    scores = scale * encoder.vectors([pair.query for pair in pairs]) @ encoder.vectors(facts).T
    out = torch.zeros_like(scores, dtype=torch.bool)
    for row, pair in enumerate(pairs):
        right = [other.fact for other in pairs if other.query == pair.query]
        out[row, [at[text] for text in (*right, *pair.ignored) if text in at]] = True
        out[row, at[pair.fact]] = False
    gold = torch.tensor([at[pair.fact] for pair in pairs], device=scores.device)
    return functional.cross_entropy(scores.masked_fill(out, -torch.inf), gold)


def hardest(
    encoder: Encoder, facts: Sequence[str], pairs: Sequence[Pair], count: int
) -> list[Pair]:
    """The pairs with up to `count` more negatives: the nearest facts to the query that are wrong.

    >>> pairs = hardest(encoder, facts, pairs, 3)  # with the encoder as it is by now
    """
    facts = texts("facts", facts)
    arguments.whole("count", count, 1)
    pairs = arguments.listed("pairs", pairs)
    right: dict[str, list[str]] = {}
    for pair in pairs:
        right.setdefault(pair.query, []).append(pair.fact)
    known = [{*right[pair.query], *pair.ignored, *pair.negatives} for pair in pairs]
    vectors, asked = encoder.encode(facts), encoder.encode([pair.query for pair in pairs])
    _, places = top_k(asked, vectors, min(count + max(map(len, known)), len(facts)))
    out = []
    for pair, row, not_wrong in zip(pairs, places.tolist(), known, strict=True):
        wrong = [facts[i] for i in row if facts[i] not in not_wrong][:count]
        out.append(replace(pair, negatives=(*pair.negatives, *wrong)))
    return out
