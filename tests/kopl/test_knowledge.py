"""Knowledge: what is looked up, counted slowly from the file's content; files that are none."""

import copy
import json

import pytest

from tests.kopl.town import content, program
from workbench.errors import DatasetError
from workbench.kopl.knowledge import Knowledge, read_knowledge
from workbench.kopl.trace import executed


def relations(raw):
    """(head, relation, tail) of every relation of the content, from either end."""
    return {
        (i, r["predicate"], r["object"])[:: 1 if r["direction"] == "forward" else -1]
        for i, entry in raw["entities"].items()
        for r in entry["relations"]
    }


def test_a_relation_is_one_fact_from_whichever_end_it_is_stated():
    raw = content()
    for drop in ("forward", "backward", None):
        part = copy.deepcopy(raw)
        for entry in part["entities"].values():
            entry["relations"] = [r for r in entry["relations"] if r["direction"] != drop]
        knowledge = Knowledge(part)
        facts = [f for f in knowledge.facts if isinstance(f.tail, str)]
        triples = {(f.head, f.relation, f.tail) for f in facts}
        assert triples == relations(part)
        assert len(facts) == len(triples)
        assert all(knowledge.facts[f.place] is f for f in knowledge.facts)
        for fact in facts:
            assert fact in knowledge.related["forward", fact.head, fact.relation]
            assert fact in knowledge.related["backward", fact.tail, fact.relation]
            assert fact in knowledge.links[fact.head, fact.tail]
            assert fact in knowledge.of[fact.relation]
            assert fact in knowledge.about[fact.head]
            assert fact in knowledge.about[fact.tail]


def test_one_pair_related_twice_with_other_qualifiers_is_two_facts():
    raw = content()
    year = [{"type": "year", "value": 2020}]
    again = {"predicate": "employer", "object": "o1", "direction": "forward"}
    raw["entities"]["p1"]["relations"] += [{**again, "qualifiers": {"start time": year}}, again]
    for i in ("p1", "p2"):  # without qualifiers it says nothing new
        mirror = {"predicate": "employer", "object": i, "direction": "backward"}
        raw["entities"]["o1"]["relations"].append(mirror)
    knowledge = Knowledge(raw)
    assert [len(knowledge.links[i, "o1"]) for i in ("p1", "p2")] == [3, 1]


def test_relations_with_what_is_not_there_are_left_out_and_counted(caplog):
    raw = content()
    for i, direction in (("p1", "forward"), ("t1", "backward")):
        row = {"predicate": "employer", "object": "o99", "direction": direction}
        raw["entities"][i]["relations"].insert(0, row)
    facts = Knowledge(raw).facts
    assert len(facts) == len(Knowledge(content()).facts)
    assert "2 relations are left out" in caplog.text
    assert "knowledge 'p1' relations 0: 'o99'" in caplog.text


def test_members_are_those_of_subclasses_too_and_a_circle_ends():
    raw = content()
    knowledge = Knowledge(raw)

    def above(concept):
        return {concept}.union(*map(above, raw["concepts"][concept]["instanceOf"]))

    for concept in raw["concepts"]:
        expected = [i for i, e in raw["entities"].items() if concept in above(e["instanceOf"][0])]
        assert [*knowledge.members[concept]] == expected
    raw["concepts"]["agent"]["instanceOf"] = ["writer"]
    assert [*Knowledge(raw).members["writer"]] == [*knowledge.members["agent"]]


def test_the_form_of_the_kopl_library_is_read_alike():
    raw = content()
    for entry in raw["entities"].values():
        for relation in entry["relations"]:
            relation["relation"] = relation.pop("predicate")
    for entry in raw["concepts"].values():
        entry["subclassOf"] = entry.pop("instanceOf")
    steps = program("Find(Arnby) Relate(place of birth, backward) FilterConcept(agent) Count()")
    assert executed(Knowledge(raw), steps).answer == "2"


def test_a_file_is_read_and_its_names_are_names_for_programs(tmp_path):
    raw = content()
    raw["entities"]["p1"]["name"] = " Ada\tBrandt "
    path = tmp_path / "kb.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert read_knowledge(path).ids["Ada Brandt"] == ["p1", "p7"]


def test_a_concept_of_an_entitys_name_comes_after_it():
    raw = content()
    raw["concepts"]["salt"] = {"name": "Salt"}
    assert Knowledge(raw).ids["Salt"] == ["b3", "salt"]


P1 = ("entities", "p1")
RELATION, ATTRIBUTE = (*P1, "relations", 0), (*P1, "attributes", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("concepts",), [], "kb: field 'concepts'"),
        (("entities",), None, "kb: field 'entities'"),
        (P1, 3, "kb 'p1'"),
        ((*P1, "name"), None, "kb 'p1': field 'name'"),
        ((*P1, "name"), "  ", "kb 'p1': field 'name'"),
        ((*P1, "instanceOf"), "writer", "kb 'p1': field 'instanceOf' is 'writer'"),
        ((*P1, "instanceOf"), ["bard"], "kb 'p1': field 'instanceOf' is 'bard'"),
        (("concepts", "city", "instanceOf"), ["p1"], "kb 'city': field 'instanceOf' is 'p1'"),
        (("concepts", "p1"), {"name": "x"}, "kb: 'p1' is both"),
        ((*P1, "attributes"), {}, "kb 'p1': field 'attributes'"),
        (ATTRIBUTE, "height", "kb 'p1': field 'attributes'"),
        ((*ATTRIBUTE, "key"), 3, "kb 'p1' attributes 0: field 'key'"),
        ((*ATTRIBUTE, "value"), 168, "kb 'p1' attributes 0: field 'type'"),
        ((*ATTRIBUTE, "value", "value"), None, "kb 'p1' attributes 0: field 'value'"),
        ((*ATTRIBUTE, "qualifiers"), [1], "kb 'p1' attributes 0: field 'qualifiers'"),
        ((*RELATION, "predicate"), "", "kb 'p1' relations 0: field 'predicate'"),
        ((*RELATION, "direction"), "up", "kb 'p1' relations 0: field 'direction'"),
        ((*RELATION, "object"), ["t1"], "kb 'p1' relations 0: field 'object'"),
        ((*RELATION, "qualifiers"), {"start time": 1975},
         "kb 'p1' relations 0: field 'start time' is 1975"),
        ((*RELATION, "qualifiers"), {"start time": [1975]},
         "kb 'p1' relations 0 'start time': field 'type'"),
    ],
)  # fmt: skip
def test_a_malformed_base_is_refused_by_entity_and_field(path, value, message):
    raw = content()
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DatasetError) as refused:
        Knowledge(raw, "kb")
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("text", ["", "[]", '{"concepts": {}', '{"concepts": {}}'])
def test_a_file_that_is_no_base_is_refused_by_its_name(text, tmp_path):
    path = tmp_path / "kb.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"kb\.json"):
        read_knowledge(path)
    with pytest.raises(DatasetError, match="none"):
        read_knowledge(tmp_path / "none.json")
