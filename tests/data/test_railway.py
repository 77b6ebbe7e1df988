"""The hand-written railway: questions whose chains of facts hang together and end in the answer."""

import re
from collections import Counter
from itertools import pairwise

import pytest

from workbench.paths import small_folder
from workbench.retrieval.answers import normalised
from workbench.retrieval.chains import read_chains
from workbench.retrieval.lexical import words

TWINS = {
    8: [29, 30], 9: [72, 73], 10: [53], 11: [12, 13], 12: [129, 130], 13: [125, 126], 14: [36, 39],
    15: [58], 16: [18, 19], 17: [24, 25], 18: [83, 84, 81], 19: [93], 20: [99, 100, 101],
    21: [117, 118, 119], 22: [76, 78, 80], 23: [12, 7, 8], 24: [35, 42, 47, 48],
    25: [67, 66, 64, 65], 26: [104, 105, 106, 107], 27: [136, 137, 138, 139],
    28: [153, 154, 155, 156], 29: [144, 145, 146, 147],
}  # fmt: skip
"""Question -> the facts that would answer it, were it asked of another first fact."""
LITTLE = {"a", "by", "from", "in", "is", "its", "of", "on", "s", "the", "to", "was", "with"}
ASKED = read_chains(small_folder() / "railway.json", max_depth=4)
(FACTS,) = {question.facts for question in ASKED}


def names(text):
    """Words with a capital, but for the article."""
    return {*re.findall(r"\b[A-Z]\w+", text)} - {"The"}


def test_it_is_as_its_card_says():
    assert (len(FACTS), len(ASKED)) == (161, 30)
    assert Counter(len(q.chain) for q in ASKED) == {1: 8, 2: 8, 3: 7, 4: 7}
    assert Counter(q.answer for q in ASKED if q.answer_kind == "bool") == {"yes": 3, "no": 3}
    assert max(len(fact.split()) for fact in FACTS) <= 20


def test_no_sentence_is_there_twice():
    assert len({normalised(fact) for fact in FACTS}) == len(FACTS)
    assert len({normalised(question.question) for question in ASKED}) == len(ASKED)


@pytest.mark.parametrize("asked", ASKED, ids=lambda q: q.id)
def test_a_chain_ends_in_its_answer_and_each_fact_of_it_is_needed(asked):
    told = [FACTS[place] for place in asked.chain]
    if asked.answer_kind != "bool":
        assert f" {normalised(asked.answer)} " in f" {normalised(told[-1])} "
        assert normalised(asked.answer) not in normalised(" ".join([asked.question, *told[:-1]]))
    for i, (before, after) in enumerate(pairwise(told)):
        # What leads on is a name that nothing earlier says.
        earlier = names(" ".join([asked.question, *told[:i]]))
        assert (names(before) & names(after)) - earlier


@pytest.mark.parametrize("number", TWINS)
def test_without_its_first_fact_a_twin_answers_as_well(number):
    # What the question says of the later facts is said in the twin too: no shorter chain will do.
    asked = ASKED[number]
    later, twin = (" ".join(FACTS[v] for v in way) for way in (asked.chain[1:], TWINS[number]))
    gives_away = ({*words(asked.question)} & {*words(later)}) - {*words(twin)} - LITTLE
    # What a question for yes or no asks is in the fact that says yes.
    assert gives_away <= ({"colour", "blind", "fifty"} if asked.answer_kind == "bool" else set())
    assert not {*asked.chain} & {*TWINS[number]}


def test_each_chain_of_two_facts_or_more_has_a_twin():
    assert [*TWINS] == [i for i, question in enumerate(ASKED) if len(question.chain) > 1]


@pytest.mark.parametrize("asked", ASKED, ids=lambda q: q.id)
def test_no_name_leads_past_a_fact_of_a_chain(asked):
    # As a surname would that a sister shares with her brother.
    told = [names(FACTS[place]) for place in asked.chain]
    for i, before in enumerate(told):
        assert not (before & set().union(*told[i + 2 :])) - names(asked.question)
