"""Wordings, walks and names of worlds: what a question says is what its program does."""

import random

import pytest

from workbench.retrieval.graphs import nodes
from workbench.worlds import names
from workbench.worlds.evidence import FAMILIES
from workbench.worlds.facts import World
from workbench.worlds.relations import ATTRIBUTES, RELATIONS

WORLD = World("test", 0)


def drawn(family, count=60):
    rng = random.Random(family)
    drafts = (FAMILIES[family](WORLD, rng) for _ in range(10_000 * count))
    return [draft for draft, _ in zip(filter(None, drafts), range(count), strict=False)]


@pytest.mark.parametrize("part", ["of", "heads", "which", "name", "more"])
def test_no_two_relations_are_asked_about_in_the_same_words(part):
    every = [getattr(each, part, "") for each in (RELATIONS | ATTRIBUTES).values()]
    told = [text for text in every if text]
    assert len({*told}) == len(told) > 8


def test_a_phrase_nests_its_relations_in_the_order_of_the_program():
    for draft in drawn("bridge_of_three"):
        start, *walked, last = draft.program
        (phrase,) = start["inputs"]
        for step in walked:
            phrase = RELATIONS[step["inputs"][0]].of.replace("{x}", phrase)
        if last["function"] == "QueryAttr":
            phrase = f"the {ATTRIBUTES[last['inputs'][0]].name} of {phrase}"
        assert draft.question == f"What is {phrase}?"


@pytest.mark.parametrize("family", ["compare", "compare_bridge"])
def test_branches_of_a_comparison_share_neither_ends_nor_facts(family):
    for draft in drawn(family, 120):
        ends = []
        for chain in draft.chains:
            end = chain.start
            for relation in chain.relations:
                end = WORLD.facts[WORLD.forward[relation, end]].tail
            ends.append({chain.start, end})
        assert not ends[0] & ends[1], draft.question
        assert len(nodes(draft.edges)) == sum(len(c.relations) + 1 for c in draft.chains)


def test_neither_branch_of_an_intersection_tells_its_entity_alone():
    for draft in drawn("intersect"):
        heads = [
            {WORLD.facts[i].head for i in WORLD.backward[chain.relations[0], chain.start]}
            for chain in draft.chains
        ]
        assert min(map(len, heads)) > 1
        assert len(heads[0] & heads[1]) == 1


def test_worlds_of_another_number_or_size_are_others():
    worlds = [World("test", 0), World("test", 1), World("test", 0, 1.01)]
    assert len({tuple(world.members["city"]) for world in worlds}) == 3


def test_words_grow_longer_once_a_fifth_of_the_short_ones_is_used(monkeypatch):
    monkeypatch.setattr(names, "ENDINGS", ["ld", "th"])
    made = names.Names(random.Random(0), "test")
    short = round(0.2 * len(made.first) * 2**2)
    words = [made.word() for _ in range(10 * short)]
    longest = 2 * max(map(len, names.SYLLABLES)) + 2
    assert max(map(len, words[:short])) <= longest < max(map(len, words))
