"""Decoys of pools: counted by slow enumeration of all chains of a pool, from programs and texts."""

import random
from collections import Counter

import pytest

from workbench.hashing import digest
from workbench.retrieval.graphs import nodes
from workbench.worlds import pools
from workbench.worlds.evidence import FAMILIES, MOST_HEADS
from workbench.worlds.facts import World
from workbench.worlds.pools import LEAST_POOL, in_random_order, questions

WORLDS = [World("test", 0), World("test", 1)]
FACTS = {world.name: {fact.text: fact for fact in world.facts} for world in WORLDS}


def branches(question):
    """[start, relations, attribute, inverse] of each, read off the program.

    A start is None where it is what an earlier branch ends in.
    """
    out, last = [], question.program[-1]
    shared = last["inputs"][0] if last["function"].startswith("Select") else ""
    joined = any(step["function"] == "And" for step in question.program)
    for step in question.program:
        match step["function"], step["inputs"]:
            case "Find", [name]:
                out.append([name, (), shared, False])
            case "Relate", [relation, way]:
                if out[-1][1] and way == "backward":
                    out.append([None, (), shared, False])
                out[-1][1:] = [(*out[-1][1], relation), shared, way == "backward"]
            case "QueryAttr", [name]:
                for branch in out if joined else out[-1:]:
                    branch[2] = name
    return out


def whole_chains(facts, start, relations, attribute, inverse):
    """Every tuple of facts that is such a chain from another start, all facts tried at each step.

    Where the start is not named, any will do.
    """
    made = [((), None)]
    for i, name in enumerate([*relations, attribute] if attribute else relations):
        made = [
            ((*chain, fact), fact.head if inverse and not i else fact.tail)
            for chain, end in made
            for fact in facts
            if fact.relation == name and fact not in chain
            if (fact.head == end if i else (fact.tail if inverse else fact.head) != start)
        ]
    return [chain for chain, _ in made]


def packed(wanted, used):
    """Whether so many of each list's chains can be had, no fact twice: of (list, number)s."""
    if not wanted:
        return True
    (among, number), *rest = wanted
    if not number:
        return packed(rest, used)
    return any(
        packed([(among[i + 1 :], number - 1), *rest], used | {*chain})
        for i, chain in enumerate(among)
        if used.isdisjoint(chain)
    )


def room(lengths, left, decoys):
    """Chains of each branch that a pool has room for, in turn over the branches."""
    counts = [0] * len(lengths)
    for _ in range(decoys):
        for i, length in enumerate(lengths):
            if length <= left:
                counts[i], left = counts[i] + 1, left - length
    return counts


@pytest.mark.parametrize(("pool", "decoys"), [(10, 2), (16, 2), (25, 2), (40, 4)])
def test_each_branch_has_whole_chains_that_share_no_fact(pool, decoys):
    short, merged = 0, []
    for question in questions("test", 300, pool=pool, decoys=decoys):
        facts = [FACTS[question.world][text] for text in question.facts]
        gold = {facts[i] for i in question.nodes}
        asked = branches(question)
        lengths = [len(relations) + bool(attribute) for _, relations, attribute, _ in asked]
        joined = sum(branch[3] for branch in asked) > 1
        counts = room(lengths, pool - len(gold) - 4 * joined, decoys)
        short += min(counts) < decoys
        there = [whole_chains(facts, *branch) for branch in asked]
        for branch, among, count in zip(asked, there, counts, strict=True):
            starts = {chain[0] for chain in among} - gold
            if len(starts) < count:
                world = whole_chains(FACTS[question.world].values(), *branch)
                assert starts == {chain[0] for chain in world} - gold, question
        if not packed([*zip(there, counts, strict=True)], gold):
            merged.append(asked)
    assert (short > 0) == (pool < 25)
    # There are eight countries, and their capitals lie in few of them.
    assert len(merged) <= {2: 6, 4: 24}[decoys], merged


@pytest.mark.parametrize("pool", [10, 16, 25])
def test_each_of_two_conditions_is_met_by_an_entity_that_does_not_meet_the_other(pool):
    for question in questions("test", 300, pool=pool, families=("intersect",)):
        facts = [FACTS[question.world][text] for text in question.facts]
        (first, *_), (second, *_) = asked = branches(question)
        assert len({first, second}) == 2
        meets = [
            {f.head for f in facts if f.relation == relations[0] and f.tail == tail}
            for tail, relations, _, _ in asked
        ]
        assert len(meets[0] & meets[1]) == 1
        for (tail, relations, attribute, _), heads in zip(asked, meets, strict=True):
            others = heads - (meets[0] & meets[1])
            assert others, question
            world = FACTS[question.world].values()
            could = {f.head for f in world if f.relation == relations[0] and f.tail == tail}
            could -= meets[0] & meets[1]
            valued = {f.head for f in world if f.relation == attribute and f.head in could}
            shown = {f.head for f in facts if f.relation == attribute and f.head in others}
            assert shown or not valued, question


def test_pools_are_full_and_of_the_same_questions_whatever_they_hold():
    drawn = {
        case: questions("test", 24, pool=case[0], decoys=case[1])
        for case in [(10, 0), (10, 100), (25, 2), (40, 0), (40, 100), (900, 100)]
    }
    first = drawn[10, 0]
    for (pool, _), asked in drawn.items():
        assert [q.question for q in asked] == [q.question for q in first]
        for question, other in zip(asked, first, strict=True):
            world = FACTS[question.world]
            assert len(question.facts) == len({*question.facts}) == min(pool, len(world))
            assert {question.facts[i] for i in question.nodes} == {
                other.facts[i] for i in other.nodes
            }


def test_no_family_has_more_gold_facts_than_a_pool_holds():
    rng, most = random.Random(0), 0
    for name, world in [(name, world) for name in FAMILIES for world in WORLDS]:
        drafts = [FAMILIES[name](world, rng) for _ in range(300)]
        most = max(most, *(len(nodes(draft.edges)) for draft in drafts if draft))
    assert most == 2 * MOST_HEADS < LEAST_POOL


@pytest.mark.parametrize("pool", [10, 11, 12, 13, 16, 25])
def test_chains_are_whole_or_not_there_and_come_in_turn(pool):
    rng, whole = random.Random(0), 0
    for name, world in [(name, world) for name in FAMILIES for world in WORLDS]:
        for draft in filter(None, (FAMILIES[name](world, rng) for _ in range(40))):
            gold = nodes(draft.edges)
            lengths = [len(chain.relations) + bool(chain.attribute) for chain in draft.chains]
            counts = []
            for decoys in range(5):
                places = pools.rivals(world, draft, random.Random(1), pool, decoys)
                assert places[: len(gold)] == [*gold]
                assert len(places) == len({*places}) <= pool
                counts.append(len(places))
            all_there = pools.rivals(world, draft, random.Random(1), 900, 4)
            if len(all_there) < counts[0] + 4 * sum(lengths):
                continue  # the world has no four of each
            for decoys in range(5):
                each = room(lengths, pool - counts[0], decoys)
                whole += sum(each)
                assert counts[decoys] - counts[0] == sum(
                    count * length for count, length in zip(each, lengths, strict=True)
                )
                assert max(each) <= min(each) + 1
    assert whole > 1000


def test_names_tell_a_world_of_another_size():
    assert [WORLDS[1].name, World("dev", 1, 0.5).name] == ["test-1", "dev-x0.5-1"]
    (larger,) = questions("dev", 1, size=5.0)
    assert (larger.id, larger.world) == ("dev-x5-0", "dev-x5-0")


def test_a_random_order_has_each_once_and_all_orders_alike():
    rng, orders = random.Random(0), Counter()
    for _ in range(6000):
        orders[tuple(in_random_order([5, 7, 9], rng))] += 1
    assert len(orders) == 6
    assert all(sorted(order) == [5, 7, 9] for order in orders)
    assert min(orders.values()) > 850
    assert not [*in_random_order([], rng)]


def test_partial_matches_are_drawn_of_all_whose_attribute_is_stated():
    (world, rng), seen = (WORLDS[0], random.Random(0)), set()
    draft = next(d for _ in range(999) if (d := FAMILIES["intersect"](world, rng)))
    gold, chain = nodes(draft.edges), draft.chains[0]
    for _ in range(400):
        seen.add(pools.partial_match(world, chain, gold, rng)[0])
    facts = [world.facts[i] for i in sorted(seen)]
    valued = {f.head for f in world.facts if f.relation == chain.attribute}
    assert facts == [
        f for i, f in enumerate(world.facts)
        if f.relation == chain.relations[0] and f.tail == chain.start and i not in gold
        and f.head in valued
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("split", "count", "wanted", "asked"),
    [
        ("train", 200, "bd9e6afd09981766", {}),
        ("test", 100, "41946682cdd91012", {"size": 3}),
        ("dev", 100, "cc1641d1ca7401c5", {"pool": 40, "decoys": 4, "worlds": 3}),
    ],
)
def test_questions_are_those_of_all_versions(split, count, wanted, asked):
    """What was measured on them stays so."""
    rows = [
        [q.id, q.question, q.facts, q.edges, q.answer, q.answer_kind, q.program, q.world]
        for q in questions(split, count, **asked)
    ]
    assert digest(rows) == wanted
