"""The loss of a path retriever: each step of the gold chain, and the chain among wrong ones (§2.3).

Sections are those of ReasonChainQA (arXiv 2210.08763).
"""

import random
from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from workbench.models.lex_encoder import words
from workbench.retrievers.model import PathRetriever, Pool
from workbench.retrievers.targets import Path

CORRUPTED, NEAR = 7, 3
"""Wrong chains beside each gold one; facts among which one that stands in for another is drawn."""


def nearest_facts(facts: Sequence[str], chain: Path) -> dict[int, list[int]]:
    """Each fact of a chain → the `NEAR` others that share most of their words with it.

    The largest share first, of equal ones the first in place; no fact of the chain is among them. A
    pool does not say of which relation a fact is; that is what most shared words tell of.
    """
    sets = [frozenset(words(fact)) for fact in facts]
    others = [i for i in range(len(facts)) if i not in chain]

    def share(a: int, b: int) -> float:
        return round(len(sets[a] & sets[b]) / (len(sets[a] | sets[b]) or 1), 9)

    return {v: sorted(others, key=lambda i, v=v: (-share(v, i), i))[:NEAR] for v in chain}


def corrupted(
    chain: Path, near: Mapping[int, Sequence[int]], facts: int, rng: random.Random
) -> list[Path]:
    """`CORRUPTED` different wrong chains, or as many as come of some draws, in the order of these.

    In turn two facts change places, one is replaced by one of those `near` it, the chain ends
    early (it may be empty), or one more of the `facts` is read.
    """
    others = [i for i in range(facts) if i not in chain]
    drawn: dict[Path, None] = {}
    for turn in range(8 * CORRUPTED):
        wrong, i = [*chain], rng.randrange(len(chain))
        if turn % 4 == 0:
            j = rng.randrange(len(chain))
            wrong[i], wrong[j] = wrong[j], wrong[i]
        elif turn % 4 == 2:
            wrong = wrong[:i]
        elif others and turn % 4 == 1:
            wrong[i] = rng.choice(near[chain[i]])
        elif others:
            wrong.append(rng.choice(others))
        if tuple(wrong) != chain:
            drawn[tuple(wrong)] = None
        if len(drawn) == CORRUPTED:
            break
    return [*drawn]


def path_loss(
    retriever: PathRetriever,
    pool: Pool,
    chains: Sequence[Sequence[Path]],
    positive_weight: float,
    chain_weight: float,
) -> torch.Tensor:
    """Evidence loss + `chain_weight` · chain loss of a pool's questions; a scalar with gradient.

    `chains`: of each question, the gold one first, wrong ones behind it. Evidence loss: mean
    cross-entropy of every fact in every state along the gold chain, a gold fact weighed
    `positive_weight`, and that of the end. Chain loss: the cross-entropy of the gold chain in a
    softmax over Σ_j log softmax(z_j)[c_j] + log p(end), mean over questions. States that chains
    share are computed once.
    """
    of_row = [(row, chain) for row, of in enumerate(chains) for chain in of]
    gold = [of[0] for of in chains]
    inner = {(row, chain[:j]) for row, chain in of_row for j in range(len(chain))}
    inner |= {(row, chain) for row, chain in enumerate(gold)}
    states = retriever.start(pool)
    totals = states.tokens.new_zeros(len(of_row), dtype=torch.float32)
    of_facts, of_ends = [], []
    here: list[tuple[int, Path]] = [(row, ()) for row in range(len(chains))]
    for depth in range(max(len(chain) for _, chain in of_row) + 1):
        place = {state: i for i, state in enumerate(here)}
        logits, ends = retriever.scores(states), _ends(retriever, pool, states.rows, states.tokens)
        at = [(place[row, c[:depth]], row) for row, c in enumerate(gold) if depth <= len(c)]
        for_facts, for_ends = _evidence(logits, ends, at, gold, depth, positive_weight)
        of_facts.append(for_facts)
        of_ends.append(for_ends)
        longer = [(n, row, chain) for n, (row, chain) in enumerate(of_row) if len(chain) > depth]
        steps = [(n, place[row, chain[:depth]], chain[depth]) for n, row, chain in longer]
        totals = _added(totals, logits.log_softmax(1), steps)
        stops = functional.logsigmoid(ends)[:, None]
        over = [(n, place[row, chain], 0) for n, (row, chain) in enumerate(of_row)
                if len(chain) == depth and (row, chain) in inner]  # fmt: skip
        totals = _added(totals, stops, over)
        after = [*dict.fromkeys((row, chain[: depth + 1]) for _, row, chain in longer)]
        last = {state: i for i, state in enumerate(s for s in after if s not in inner)}
        here = [state for state in after if state in inner]
        if last:
            parents, facts = _parents(states.rows, place, [*last])
            tokens = retriever.read(states, parents, facts)
            stops = functional.logsigmoid(_ends(retriever, pool, states.rows[parents], tokens))
            over = [(n, last[row, chain], 0) for n, row, chain in longer if (row, chain) in last]
            totals = _added(totals, stops[:, None], over)
        if not here:
            break
        states = retriever.step(states, *_parents(states.rows, place, here))
    beside = torch.nn.utils.rnn.pad_sequence(
        totals.split([len(of) for of in chains]), True, -torch.inf
    )
    evidence = torch.cat(of_facts).mean() + torch.cat(of_ends).mean()
    return evidence - chain_weight * beside.log_softmax(1)[:, 0].mean()


def _ends(
    retriever: PathRetriever, pool: Pool, rows: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    return retriever.ends(tokens, pool.questions_there[rows])


def _evidence(
    logits: torch.Tensor, ends: torch.Tensor, at: Sequence[tuple[int, int]],
    gold: Sequence[Path], depth: int, positive_weight: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Losses of each fact and of each end, at the states `at` of (place, row)."""
    labels = torch.zeros_like(logits)
    over = torch.zeros_like(ends)
    for i, row in at:
        if depth < len(gold[row]):
            labels[i, gold[row][depth]] = 1
        else:
            over[i] = 1
    places = [i for i, _ in at]
    there = logits[places] > -torch.inf
    weight = logits.new_tensor(positive_weight)
    loss = functional.binary_cross_entropy_with_logits
    of_facts = loss(
        logits[places][there], labels[places][there], reduction="none", pos_weight=weight
    )
    return of_facts, loss(ends[places], over[places], reduction="none")


def _added(
    totals: torch.Tensor, terms: torch.Tensor, picks: Sequence[tuple[int, int, int]]
) -> torch.Tensor:
    """`totals` with `terms[i, j]` added at n, for each (n, i, j)."""
    if not picks:
        return totals
    to, i, j = torch.tensor(picks, device=terms.device).T
    return totals.index_add(0, to, terms[i, j])


def _parents(
    rows: torch.Tensor, place: Mapping[tuple[int, Path], int], states: Sequence[tuple[int, Path]]
) -> torch.Tensor:
    """Places of the states before, and the facts that lead to these: `[2, states]`."""
    return rows.new_tensor([(place[row, path[:-1]], path[-1]) for row, path in states]).T
