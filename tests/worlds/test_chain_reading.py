"""Sentences read back, and programs executed by KoPL's interpreter over what they say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ProgramError
from workbench.kopl.knowledge import Knowledge
from workbench.kopl.trace import executed
from workbench.retrieval.graphs import ROOT
from workbench.worlds.chain_attributes import CHAINS, HELD_OUT
from workbench.worlds.chain_reading import knowledge, knowledge_of, parsed
from workbench.worlds.chains import questions
from workbench.worlds.facts import World

ALL = CHAINS.relations | CHAINS.attributes
NAME = r"[A-Z][a-z]+(?: (?:of )?[A-Z][a-z]+)*"
HOLES = {"h": NAME, "t": NAME, "v": r"\d+", "s": r"\d+", "e": r"\d+", "y": r"\d+"}
FORMS = [
    (key, re.compile(re.sub(r"\\\{(\w)\\\}", lambda m: f"(?P<{m[1]}>{HOLES[m[1]]})",
                            re.escape(sentence))))
    for key, each in ALL.items()
    for sentence in each.sentences
]  # fmt: skip


def readings(text):
    """Everything that a sentence may say, each template tried."""
    return [(key, match.groupdict()) for key, form in FORMS if (match := form.fullmatch(text))]


@pytest.mark.parametrize("vocabulary", [CHAINS, HELD_OUT], ids=["known", "held out"])
def test_every_sentence_of_a_world_is_read_as_what_it_was_made_of_and_nothing_else(vocabulary):
    world = World("dev", 0, 0.5, vocabulary)
    for fact in world.facts:
        assert parsed(fact.text) == fact
        ((key, told),) = readings(fact.text)
        assert (key, told["h"]) == (fact.relation, fact.head)
        assert told.get("t", told.get("v")) == str(fact.tail)
        assert tuple(int(told[y]) for y in "sey" if y in told) == fact.years


NAMES = st.sampled_from(
    ["Ada Bel", "Dorla", "The Amber Coat", "The Odd Key of Lomi", "Anchor of Lomi", "Bala River"]
)
FILLED = st.fixed_dictionaries(
    {"h": NAMES, "t": NAMES, **{hole: st.integers(0, 10**9) for hole in "vsey"}}
)


@given(st.sampled_from([*ALL]), st.integers(0, 3), FILLED)
def test_each_template_is_read_whatever_it_is_about(key, place, filled):
    text = ALL[key].sentences[place].format(**filled)
    told = {hole: value for hole, value in filled.items() if f"{{{hole}}}" in ALL[key].sentences[0]}
    fact = parsed(text)
    assert (fact.text, fact.relation, fact.head) == (text, key, told["h"])
    assert fact.tail == told.get("t", told.get("v"))
    assert fact.years == tuple(told[hole] for hole in "sey" if hole in told)


@pytest.mark.parametrize(
    "text",
    ["", "Hello there.", f"The height of Ada is {10**19} centimetres.",
     "Ada was born in Dorla", "Ada was born in dorla.", "Ada was born in 1990.",
     "Xhe birthplace of Ada is Dorla.", "Thus birthplace of Ada is Dorla.",
     "ada was born in Dorla.", "Ada was born in Dorla. Bel was born in Dorla."],
)  # fmt: skip
def test_other_sentences_say_nothing(text):
    assert parsed(text) is None
    assert knowledge_of([text])["entities"] == {}


@pytest.fixture(scope="module")
def asked():
    return questions("test", 2016)


@pytest.fixture(scope="module")
def known():
    worlds = [World("test", number, 1, CHAINS) for number in range(4)]
    return {world.name: Knowledge(knowledge(world)) for world in worlds}


def test_programs_come_to_the_answers_over_the_knowledge_of_whole_worlds(asked, known):
    for question in asked:
        traced = executed(known[question.world], question.program)
        assert (traced.answer, len(traced.facts)) == (question.answer, len(question.chain)), (
            question
        )
        assert traced.kind == question.answer_kind


def test_programs_read_the_facts_of_the_chain_in_its_order(asked, known):
    """Step by step: the facts of one step have no order of their own."""
    for question in asked:
        traced = executed(known[question.world], question.program)
        said = {place: parsed(question.facts[place]) for place in question.chain}
        assert [f.relation for f in traced.facts] == [f.relation for f in said.values()]
        read = [
            (
                f.relation,
                {f.head, str(f.tail) if isinstance(f.tail, str) else str(f.tail).split()[0]},
            )
            for f in traced.facts
        ]
        gold = {place: (f.relation, {f.head, str(f.tail)}) for place, f in said.items()}
        place_of = {i: next(p for p in gold if gold[p] == fact) for i, fact in enumerate(read)}
        assert sorted(place_of.values()) == [*question.nodes]
        place_of[ROOT] = ROOT
        assert {(place_of[u], place_of[v]) for u, v in traced.edges} == {*question.edges}


def test_programs_come_to_the_answers_over_what_gold_sentences_alone_say(asked):
    for question in asked:
        gold = [question.facts[place] for place in question.chain]
        traced = executed(Knowledge(knowledge_of(gold)), question.program)
        assert traced.answer == question.answer, question


def test_over_sentences_in_held_out_words_the_answers_are_the_same():
    for question in questions("test", 120, held_out=True):
        traced = executed(Knowledge(knowledge_of(question.facts)), question.program)
        assert traced.answer == question.answer, question


def test_pools_hold_no_second_answer(asked):
    """Over all facts of a pool, decoys among them, a program comes to the one answer."""
    for question in asked[:240]:
        traced = executed(Knowledge(knowledge_of(question.facts)), question.program)
        assert traced.answer == question.answer, question


def test_without_any_gold_fact_a_program_comes_to_no_right_answer(asked):
    for question in asked[:240]:
        last = question.program[-1]["function"]
        gold = [question.facts[place] for place in question.chain]
        for place in range(len(gold)):
            try:
                traced = executed(
                    Knowledge(knowledge_of(gold[:place] + gold[place + 1 :])), question.program
                )
            except ProgramError:
                continue
            # Heads that are not stated cannot be missed.
            assert last in ("Count", "SelectAmong"), question
            assert last == "SelectAmong" or traced.answer != question.answer


def test_a_knowledge_base_has_what_its_facts_say():
    text = [
        "From 1990 until 1996, Ada Bel and Tom Lo were a married couple.",
        "In 1990, Dorla had 512 inhabitants.",
        "Ada Bel was born in Dorla.",
        "The birth of Ada Bel was in the year 1950.",
        "Ada Bel is 183 centimetres tall.",
    ]
    base = knowledge_of(text)
    year = lambda number: {"type": "year", "value": number}  # noqa: E731
    told = {"start time": [year(1990)], "end time": [year(1996)]}

    def row(relation, other, direction, qualifiers):
        return {"predicate": relation, "object": other, "direction": direction,
                "qualifiers": qualifiers}  # fmt: skip

    assert base["concepts"]["person"] == {"name": "person", "instanceOf": []}
    assert len(base["concepts"]) == 13
    assert base["entities"] == {
        "Ada Bel": {
            "name": "Ada Bel",
            "instanceOf": ["person"],
            "attributes": [
                {"key": "birth_year", "value": year(1950), "qualifiers": {}},
                {"key": "height", "qualifiers": {},
                 "value": {"type": "quantity", "value": 183, "unit": "centimetres"}},
            ],
            "relations": [
                row("spouse", "Tom Lo", "forward", told), row("spouse", "Tom Lo", "backward", told),
                row("born_in", "Dorla", "forward", {}),
            ],
        },
        "Tom Lo": {
            "name": "Tom Lo",
            "instanceOf": ["person"],
            "attributes": [],
            "relations": [
                row("spouse", "Ada Bel", "backward", told),
                row("spouse", "Ada Bel", "forward", told),
            ],
        },
        "Dorla": {
            "name": "Dorla",
            "instanceOf": ["city"],
            "attributes": [
                {"key": "city_population", "qualifiers": {"point in time": [year(1990)]},
                 "value": {"type": "quantity", "value": 512, "unit": "1"}},
            ],
            "relations": [row("born_in", "Ada Bel", "backward", {})],
        },
    }  # fmt: skip
