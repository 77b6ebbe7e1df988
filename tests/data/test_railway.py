"""The hand-written railway: questions whose chains of facts hang together and end in the answer."""

import re
from collections import Counter
from itertools import pairwise

import pytest

from workbench.paths import small_folder
from workbench.retrieval.answers import normalised
from workbench.retrieval.chains import read_chains

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
