"""The vocabulary of worlds of chains: as many relations and attributes as the method has, in words
that tell them apart."""

import re
from collections import Counter
from string import Formatter

import pytest

from workbench.worlds.chain_attributes import CHAINS

HEADS = {
    "person": 12, "city": 4, "region": 3, "country": 5, "company": 6, "university": 4, "film": 6,
    "book": 4, "band": 3, "team": 3, "museum": 2, "river": 1, "award": 1,
}  # fmt: skip
ALL = CHAINS.relations | CHAINS.attributes
PHRASES = ("of", "asks", "name", "unit")
"""Those that questions of the embedded preset use: none asks for all heads."""
FUNCTION = {
    *"a among an and are as at by for from had has have in is its no of on than the to".split(),
    *"until was were where with".split(),
}
"""Words that tell no relation."""


def holes(text):
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name)


def test_54_relations_and_24_attributes_of_the_kinds_of_the_method():
    assert Counter(relation.head for relation in CHAINS.relations.values()) == HEADS
    assert (len(CHAINS.relations), len(CHAINS.attributes)) == (54, 24)
    assert {r.tail for r in CHAINS.relations.values()} < set(CHAINS.counts) == set(HEADS)
    symmetric = [name for name, relation in CHAINS.relations.items() if relation.symmetric]
    assert symmetric == ["spouse", "sibling", "twin_city", "neighbour", "partner", "rival"]
    lasting = [name for name, relation in CHAINS.relations.items() if relation.lasts]
    assert lasting == ["employer", "spouse", "plays_for", "chief_executive", "coach"]
    for relation in CHAINS.relations.values():
        assert not relation.symmetric or (relation.head == relation.tail and not relation.heads)


@pytest.mark.parametrize("name", ALL)
def test_four_sentences_of_each_have_the_same_holes_and_come_in_both_orders(name):
    each = ALL[name]
    assert len({*each.sentences}) == 4
    if name in CHAINS.relations:
        wanted = ["e", "h", "s", "t"] if each.lasts else ["h", "t"]
        orders = {text.index("{h}") < text.index("{t}") for text in each.sentences[:3]}
        assert orders == ({True} if each.symmetric else {True, False})
        assert holes(each.of) == ["x"]
        assert holes(each.asks) == ["t", "x"]
        assert not each.heads or holes(each.heads) == ["x"]
    else:
        wanted = ["h", "v", "y"] if each.years else ["h", "v"]
        assert len({text.index("{h}") < text.index("{v}") for text in each.sentences}) == 2
    assert all(holes(text) == wanted for text in each.sentences)


@pytest.mark.parametrize("part", ["of", "heads", "asks"])
def test_no_two_relations_are_asked_about_in_the_same_words(part):
    told = [text for r in CHAINS.relations.values() if (text := getattr(r, part))]
    assert len({*told}) == len(told) > 20


def words(*texts):
    return [word for text in texts for word in re.sub(r"{.}", "", text).lower().split()]


def bare(text):
    """A sentence whatever its holes hold."""
    return re.sub(r"{.}", "_", text)


def known(each):
    """The words, full stops aside, of its sentences but the last, and of its phrases."""
    phrases = [getattr(each, part, "") for part in PHRASES]
    return {word.strip(".,") for word in words(*each.sentences[:-1], *phrases)} - {""}


@pytest.mark.parametrize("name", ALL)
def test_a_held_out_sentence_is_a_new_construction_of_known_words(name):
    told = [word.strip(".,") for word in words(ALL[name].sentences[-1])]
    content = {*told} - FUNCTION - {""}
    assert content
    assert content <= known(ALL[name])
    assert {*told} - {""} <= set().union(*map(known, ALL.values()))
    templates = [bare(text) for each in ALL.values() for text in each.sentences[:-1]]
    assert bare(ALL[name].sentences[-1]) not in templates


def test_no_two_sentences_are_the_same_but_for_what_stands_in_their_holes():
    told = [bare(text) for each in ALL.values() for text in each.sentences]
    assert len({*told}) == len(told) == 4 * 78
