"""Candidate facts of a question: the gold ones among decoys that are as complete as they are.

A decoy chain follows the same relations from another start, all its facts in the pool, so that a
relation alone tells no gold fact from another (§6 of the method: two for each branch). They are
drawn, so that one may come twice, and one that no longer fits into a small pool is cut off.
"""

import random

from workbench import arguments
from workbench.errors import DatasetError
from workbench.retrieval.graphs import ROOT, Evidence, nodes
from workbench.worlds.evidence import FAMILIES
from workbench.worlds.facts import World
from workbench.worlds.walks import Chain, Draft

POOL, DECOYS = 25, 2
SAME_RELATION, SAME_ENTITY = 2, 6
MOST_GOLD = 10
TRIES = 20
"""Starts tried for a decoy chain: some lack a relation."""
_KINDS = {"QueryAttr": "number", "Count": "count", "VerifyNum": "bool", "VerifyStr": "bool"}


def questions(
    split: str,
    count: int,
    *,
    worlds: int = 2,
    pool: int = POOL,
    decoys: int = DECOYS,
    size: float = 1.0,
    families: tuple[str, ...] = tuple(FAMILIES),
) -> list[Evidence]:
    """Different questions of a split, families in turn, worlds in turn, with `pool` facts each.

    The same in every process. `decoys`: complete decoy chains for each branch. Raises `ValueError`
    for a number out of range or an unknown family, `DatasetError` where the worlds have too few
    different questions.

    >>> questions("test", 12)[0].question
    """
    arguments.whole("count", count, 1)
    arguments.whole("worlds", worlds, 1)
    arguments.whole("pool", pool, MOST_GOLD)
    arguments.whole("decoys", decoys, 0)
    names = arguments.listed("families", families)
    for name in names:
        arguments.one_of("family", name, tuple(FAMILIES))
    drawn = [World(split, number, size) for number in range(worlds)]
    rng = random.Random(f"{split} {worlds} {size:g}")
    made: list[Evidence] = []
    seen: set[str] = set()
    misses = 0
    for i in range(1000 * count):
        if len(made) == count:
            return made
        world = drawn[i % worlds]
        name = names[len(made) % len(names)]
        draft = FAMILIES[name](world, rng)
        if draft and draft.question not in seen and len(draft.edges) <= 2 * MOST_GOLD:
            places = candidates(world, draft, rng, pool, decoys)
            if len(nodes(draft.edges)) <= MOST_GOLD:
                seen.add(draft.question)
                made.append(evidence(f"{split}-{len(made)}", world, draft, places))
                misses = 0
                continue
        misses += 1
        if misses > 20_000:
            break
    raise DatasetError(
        f"{worlds} worlds of size {size:g} have no {count} different questions; the "
        f"{len(made) + 1}th, of family {names[len(made) % len(names)]!r}, is not to be had: give "
        "more worlds, or larger ones"
    )


def evidence(name: str, world: World, draft: Draft, places: list[int]) -> Evidence:
    """The question over the facts at these places of the world, in this order."""
    at = {place: i for i, place in enumerate(places)}
    edges = sorted((ROOT if u == ROOT else at[u], at[v]) for u, v in draft.edges)
    return Evidence(
        id=name,
        question=draft.question,
        facts=tuple(world.facts[place].text for place in places),
        edges=tuple(edges),
        answer=str(draft.answer),
        answer_kind=_KINDS.get(draft.program[-1]["function"], "entity"),
        program=tuple(draft.program),
        world=world.name,
    )


def candidates(
    world: World, draft: Draft, rng: random.Random, pool: int = POOL, decoys: int = DECOYS
) -> list[int]:
    """The places of the gold facts and of decoys, shuffled; fewer than `pool` in a small world."""
    facts, gold = world.facts, nodes(draft.edges)
    chosen = dict.fromkeys(gold)

    def add(places: list[int]) -> None:
        for place in places:
            if len(chosen) < pool:
                chosen[place] = None

    for chain in draft.chains:
        for _ in range(decoys):
            for _ in range(TRIES):
                if places := decoy(world, chain, rng):
                    add(places)
                    break
    for relation in dict.fromkeys(facts[place].relation for place in gold):
        of = world.of[relation]
        add([of[int(rng.random() * len(of))] for _ in range(SAME_RELATION)])
    about = [i for place in gold for entity in (facts[place].head, facts[place].tail)
             if isinstance(entity, str) for i in world.about[entity]]  # fmt: skip
    add([about[int(rng.random() * len(about))] for _ in range(SAME_ENTITY)])
    while len(chosen) < min(pool, len(facts)):
        chosen[int(rng.random() * len(facts))] = None
    places = [*chosen]
    rng.shuffle(places)
    return places


def decoy(world: World, chain: Chain, rng: random.Random) -> list[int]:
    """The places of a chain of the same relations from another start; empty where it breaks off."""
    others = world.members[world.kinds[chain.start]]
    entity = others[int(rng.random() * len(others))]
    if entity == chain.start:
        return []
    places: list[int] = []
    if chain.inverse:
        heads = world.backward.get((chain.relations[0], entity))
        if not heads:
            return []
        place = heads[int(rng.random() * len(heads))]
        places.append(place)
        entity = world.facts[place].head
    else:
        for relation in chain.relations:
            if (place := world.forward.get((relation, entity))) is None:
                return []
            places.append(place)
            entity = str(world.facts[place].tail)
    if chain.attribute:
        if (place := world.forward.get((chain.attribute, entity))) is None:
            return []
        places.append(place)
    return places
