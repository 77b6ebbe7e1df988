"""Candidate facts of a question: the gold ones among decoys that are as complete as they are.

A decoy chain follows the same relations from another start, all its facts in the pool, so that a
relation alone tells no gold fact from another (§6 of the method: two for each branch). Where a
question asks for what two branches share, each has a partial match besides: another entity that it
leads to, and the other one does not.
"""

import random
from collections.abc import Callable, Container, Iterator, Sequence

from workbench import arguments
from workbench.errors import DatasetError
from workbench.retrieval.graphs import ROOT, Evidence, nodes
from workbench.worlds.evidence import FAMILIES
from workbench.worlds.facts import World, sized
from workbench.worlds.walks import Chain, Draft

POOL, DECOYS = 25, 2
SAME_RELATION, SAME_ENTITY = 2, 6
Slot = tuple[str, Callable[[World], Draft | None]]
"""What is to be asked next, in words, and what draws it or meets none."""
MOST_MISSES = 20_000
LEAST_POOL = 10
"""Room for the gold facts of any family (eight: four heads, a value of each) and one chain."""
_KINDS = {
    "Count": "count", "VerifyNum": "bool", "VerifyStr": "bool", "VerifyYear": "bool",
    "QueryAttr": "number", "QueryAttrQualifier": "number", "QueryRelationQualifier": "number",
    "QueryAttrUnderCondition": "number", "QueryRelation": "",
}  # fmt: skip


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

    The same in every process, and the same questions whatever their pools. `decoys`: complete decoy
    chains for each branch (`candidates`). Raises `ValueError` for a number out of range or an
    unknown family, `DatasetError` where the worlds have too few different questions.

    >>> questions("test", 12)[0].question
    """
    arguments.whole("count", count, 1)
    arguments.whole("worlds", worlds, 1)
    arguments.whole("pool", pool, LEAST_POOL)
    arguments.whole("decoys", decoys, 0)
    names = arguments.listed("families", families)
    for name in names:
        arguments.one_of("family", name, tuple(FAMILIES))
    drawn = [World(split, number, size) for number in range(worlds)]
    rng, pools = (random.Random(f"{split} {worlds} {size:g}{of}") for of in ("", " pools"))

    def slot(place: int) -> Slot:
        name = names[place % len(names)]
        return f"family {name!r}", lambda world: FAMILIES[name](world, rng)

    return asked(
        f"{split}{sized(size)}", drawn, slot, count,
        lambda world, draft: candidates(world, draft, pools, pool, decoys),
    )  # fmt: skip


def asked(
    name: str,
    worlds: Sequence[World],
    slot: Callable[[int], Slot],
    count: int,
    pooled: Callable[[World, Draft], Sequence[int]],
) -> list[Evidence]:
    """`count` different questions, worlds in turn, the i-th as `slot(i)` has it, over its pool.

    Raises `DatasetError` where the worlds have too few different questions.
    """
    made: list[Evidence] = []
    seen: set[str] = set()
    misses = turns = 0
    while len(made) < count:
        what, draw = slot(len(made))
        while not (draft := draw(world := worlds[turns % len(worlds)])) or draft.question in seen:
            turns += 1
            misses += 1
            if misses > MOST_MISSES:
                raise DatasetError(
                    f"{len(worlds)} worlds named {name} have no {count} different questions; the "
                    f"{len(made) + 1}th, of {what}, is not to be had: give more worlds, or larger "
                    "ones"
                )
        turns += 1
        misses = 0
        seen.add(draft.question)
        made.append(evidence(f"{name}-{len(made)}", world, draft, pooled(world, draft)))
    return made


def evidence(name: str, world: World, draft: Draft, places: Sequence[int]) -> Evidence:
    """The question over the facts at these places of the world, in this order; a range is all."""
    at = dict(zip(places, range(len(places)), strict=True))
    at[ROOT] = ROOT
    edges = sorted([(at[u], at[v]) for u, v in draft.edges])
    texts = world.texts
    return Evidence(
        id=name,
        question=draft.question,
        facts=texts if isinstance(places, range) else tuple([texts[place] for place in places]),
        edges=tuple(edges),
        answer=str(draft.answer),
        answer_kind=_KINDS.get(draft.program[-1]["function"], "entity"),
        program=tuple(draft.program),
        world=world.name,
        chain=tuple([at[place] for place in draft.order]),
    )


def candidates(
    world: World, draft: Draft, rng: random.Random, pool: int = POOL, decoys: int = DECOYS
) -> list[int]:
    """The places of the gold facts and of decoys, shuffled; fewer than `pool` in a small world.

    Beside `rivals` come others of a gold relation, others about an entity of what is gold or all
    but gold, and any.
    """
    facts, gold = world.facts, nodes(draft.edges)
    chosen = dict.fromkeys(rivals(world, draft, rng, pool, decoys))
    of_relation = [world.of[key] for key in dict.fromkeys(facts[i].key for i in gold)]
    about: list[int] = []
    for place in (*gold, *draft.near):
        about += world.about[facts[place].head]
        about += world.about.get(facts[place].tail, ())
    draw, size, most = rng.random, len(facts), min(pool, len(facts))
    for places in [of for of in of_relation for _ in range(SAME_RELATION)] + [about] * SAME_ENTITY:
        place = places[int(draw() * len(places))]
        if len(chosen) < pool:
            chosen[place] = None
    while len(chosen) < most:
        chosen[int(draw() * size)] = None
    shuffled = [*chosen]
    rng.shuffle(shuffled)
    return shuffled


def rivals(world: World, draft: Draft, rng: random.Random, pool: int, decoys: int) -> list[int]:
    """The places of the gold facts, of partial matches and of decoy chains, `pool` at most.

    Chains share no fact with each other or with what is gold; where the world has no more such,
    they only start elsewhere; then there are fewer. They come in turn over the branches, each whole
    or not at all. A pool of 16 has room for two of each branch but where both branches follow two
    relations to a value (6 gold facts): the second one is left with one chain.
    """
    gold = nodes(draft.edges)
    chosen = dict.fromkeys([*gold, *draft.near])
    for chain in draft.chains:
        chosen |= dict.fromkeys(partial_match(world, chain, gold, rng))
    for _ in range(decoys):
        for chain in draft.chains:
            apart = chains(world, chain, rng, chosen)
            elsewhere = (p for p in chains(world, chain, rng) if p[0] not in chosen)
            places = next(apart, None) or next(elsewhere, [])
            if len(chosen.keys() | places) <= pool:
                chosen |= dict.fromkeys(places)
    return [*chosen]


def partial_match(
    world: World, chain: Chain, gold: Container[int], rng: random.Random
) -> list[int]:
    """The place of a fact that is no gold one, but leads to the start of an inverse chain as those
    do, and of its head's attribute, where the world states one; empty where all such are gold.
    """
    heads = world.backward[chain.relations[0], chain.start] if chain.inverse else []
    others = [place for place in heads if place not in gold]
    ends = [world.forward.get((chain.attribute, world.facts[place].head)) for place in others]
    stated = [[*pair] for pair in zip(others, ends, strict=True) if pair[1] is not None]
    matches = stated or [[place] for place in others]
    return rng.choice(matches) if matches else []


def chains(
    world: World, chain: Chain, rng: random.Random, without: Container[int] = ()
) -> Iterator[list[int]]:
    """The places of every whole chain of the same relations from another start, in random order.

    None of them holds any of `without`.
    """
    first, *rest = (*chain.relations, *filter(None, [chain.attribute]))
    facts, forward = world.facts, world.forward
    for place in in_random_order(world.of[first], rng):
        fact, places = facts[place], [place]
        start, entity = (fact.tail, fact.head) if chain.inverse else (fact.head, fact.tail)
        if start == chain.start or place in without:
            continue
        for relation in rest:
            after = forward.get((relation, entity), place)
            if after in places or after in without:
                break
            places.append(after)
            fact = facts[after]
            entity = fact.head if entity == fact.tail else fact.tail
        else:
            yield places


def in_random_order(items: Sequence[int], rng: random.Random) -> Iterator[int]:
    """Each item once: a shuffle that takes no longer than is asked of it."""
    moved: dict[int, int] = {}
    draw = rng.random
    for last in reversed(range(len(items))):
        i = int(draw() * (last + 1))
        yield items[moved.get(i, i)]
        moved[i] = moved.pop(last, last)
