"""Sentences of facts, written by hand; and that each tells all of its fact."""

import re

import pytest

from tests.kopl.town import content, labels
from workbench.kopl.knowledge import Knowledge
from workbench.kopl.sentences import TEMPLATES, sentence
from workbench.kopl.values import Value

TOWN = Knowledge(content())
FACT = {label: fact for fact, label in labels(TOWN).items()}
WRITTEN = {
    "em1": "Ada Brandt works for Acme, from 1975 until 1982.",
    "em1b": "Ada Brandt works for Bolt, from 1990.",
    "em6": "Finn Gran works for Core, from 2001-09-01.",
    "pl4b": "Dag Ek plays for Boholm United, from 2011, with number of matches 34.",
    "aw1": "Ada Brandt received the award Golden Quill, in 1998, with for work Salt.",
    "k1": "The employees of Acme is 5400, on 2015-12-31.",
    "h6": "The height of Finn Gran is 1.8 metre.",
    "v9": "The elevation of Grünau is -3 metre.",
    "d16": "The date of birth of Marcus Varro is -115.",
    "e17": "The date of death of Old Beda is 0735-05-26.",
    "bo9": "Hål Ødegård was born in São Miro.",
    "fo1": "Acme is founded by Jon Krag.",
    "tw5": "Elvik is twinned with Elvik.",
    "fl1": "Ala flows through Arnby.",
    "x1": "The publication date of Night Ferry is 1972-02-01, with place of publication Norland.",
}


@pytest.mark.parametrize("label", WRITTEN)
def test_sentences_are_those_written_by_hand(label):
    assert sentence(TOWN, FACT[label]) == WRITTEN[label]


@pytest.mark.parametrize(
    ("relation", "told"),
    [
        ("contains administrative territorial entity", "Flux contains administrative territorial "
         "entity Arnby."),
        ("located in time zone", "Flux is located in time zone Arnby."),
        ("member of political party", "Flux is member of political party Arnby."),
        ("named after", "Flux is named after Arnby."),
        ("follows", "Flux follows Arnby."),
        ("has_quality", "Flux has quality Arnby."),
        ("hassle", "The hassle of Flux is Arnby."),
        ("location of formation", "The location of formation of Flux is Arnby."),
    ],
)  # fmt: skip
def test_a_relation_that_is_no_noun_is_told_as_what_it_is(relation, told):
    raw = content()
    raw["entities"]["o6"]["relations"] = [
        {"predicate": relation, "object": "t1", "direction": "forward"}
    ]
    town = Knowledge(raw)
    assert sentence(town, town.links["o6", "t1"][0]) == told


@pytest.mark.parametrize("key", ["shares issued", "member count in"])
def test_an_attribute_is_told_as_a_noun(key):
    raw = content()
    count = {"type": "quantity", "value": 3, "unit": "1"}
    raw["entities"]["o6"]["attributes"] = [{"key": key, "value": count}]
    town = Knowledge(raw)
    assert sentence(town, town.attributes["o6", key][0]) == f"The {key} of Flux is 3."


def test_every_fact_is_told_with_all_its_names_and_values():
    texts = [sentence(TOWN, fact) for fact in TOWN.facts]
    assert len({*texts}) == len(TOWN.facts)
    for fact, text in zip(TOWN.facts, texts, strict=True):
        tail = fact.tail if isinstance(fact.tail, Value) else TOWN.names[fact.tail]
        values = [v for _, group in fact.qualifiers for v in group]
        for name in (TOWN.names[fact.head], tail, *values):
            assert re.search(rf"(?<!\w){re.escape(str(name))}(?!\w)", text)


def test_every_template_has_both_ends_once():
    for template in TEMPLATES.values():
        assert sorted(re.findall(r"\{.*?\}", template)) == ["{o}", "{s}"]


@pytest.mark.parametrize("template", ["{s} has a job", "{o}", "{s} {o.__class__}", "", "{0}"])
def test_a_template_that_leaves_an_end_out_gives_way_to_the_plain_form(template):
    told = sentence(TOWN, FACT["em1b"], {"employer": template})
    assert told == "The employer of Ada Brandt is Bolt, from 1990."


def test_a_name_that_looks_like_a_slot_stays_as_it_is():
    raw = content()
    raw["entities"]["p6"]["name"] = "{o} {s}"
    town = Knowledge(raw)
    fact = town.links["p6", "o3"][0]
    assert sentence(town, fact) == "{o} {s} works for Core, from 2001-09-01."


def test_other_words_are_taken_where_they_tell_all():
    fact = FACT["em1"]
    better = "Between 1975 and 1982, Ada Brandt was on the staff of Acme."
    assert sentence(TOWN, fact, write=lambda text: better) == better
    for worse in ("", "Ada Brandt was at Acme, 1975-1983.", better.replace("Acme", "Acmeville")):
        assert sentence(TOWN, fact, write=lambda text, worse=worse: worse) == WRITTEN["em1"]


def test_several_values_of_a_qualifier_are_all_told():
    raw = content()
    years = [{"type": "year", "value": 1998}, {"type": "year", "value": 2001}]
    raw["entities"]["p8"]["relations"][0]["qualifiers"] = {"point in time": years}
    fact = Knowledge(raw).links["p8", "a1"][0]
    assert sentence(TOWN, fact) == "Gro Holm received the award Golden Quill, in 1998 and 2001."
    years[:] = [{"type": "year", "value": -44}]
    fact = Knowledge(raw).links["p8", "a1"][0]
    assert sentence(TOWN, fact) == "Gro Holm received the award Golden Quill, in -44."


def test_names_of_punctuation_alone_are_told_too():
    raw = content()
    raw["entities"]["o3"]["name"] = "!!!"
    town = Knowledge(raw)
    assert sentence(town, town.links["p6", "o3"][0]) == "Finn Gran works for !!!, from 2001-09-01."
