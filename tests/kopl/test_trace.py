"""Evidence of programs that are no plain branches; programs of a wrong form; random programs."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kopl.town import content, labels, program
from workbench.errors import ProgramError
from workbench.kopl.knowledge import Knowledge
from workbench.kopl.trace import executed
from workbench.retrieval.graphs import ROOT, checked, reading_order

TOWN = Knowledge(content())
LABELS = labels(TOWN)


def step(function, *inputs, after=()):
    return {"function": function, "inputs": [*inputs], "dependencies": [*after]}


def test_a_step_that_two_go_on_from_gives_each_its_part():
    """Who works for Acme, by two qualifiers: each branch narrows the same facts."""
    steps = [
        step("Find", "Acme"),
        step("Relate", "employer", "backward", after=[0]),
        step("QFilterYear", "end time", "1999", "=", after=[1]),
        step("QFilterYear", "start time", "1975", "=", after=[1]),
        step("Or", after=[2, 3]),
        step("Relate", "place of birth", "forward", after=[4]),
        step("FilterStr", "postal code", "0150", after=[5]),
        step("What", after=[6]),
    ]
    traced = executed(TOWN, steps)
    assert traced.answer == "Boholm"
    assert [LABELS[fact] for fact in traced.facts] == ["em2", "bo2", "z2"]
    assert traced.edges == ((ROOT, 0), (0, 1), (1, 2))


def test_a_step_that_nothing_goes_on_from_is_no_evidence():
    steps = [
        step("Find", "Acme"),
        step("Relate", "employer", "backward", after=[0]),
        step("Find", "Boholm"),
        step("QueryAttr", "population", after=[2]),
        step("Find", "Salt"),
        step("Relate", "author", "forward", after=[4]),
        step("What", after=[5]),
    ]
    assert [LABELS[fact] for fact in executed(TOWN, steps).facts] == ["au3"]


def test_a_fact_that_is_read_again_leads_to_nothing_before_it():
    text = "Find(Ada Brandt) " + "Relate(spouse, forward) " * 5 + "What()"
    traced = executed(TOWN, program(text))
    assert [LABELS[fact] for fact in traced.facts] == ["sp1", "sp1r"]
    assert traced.edges == ((ROOT, 0), (0, 1))


def several(values):
    """The base with entities e0, e1, … of these (name, values of their size)."""
    raw = content()
    for i, (name, sizes) in enumerate(values):
        sizes = [{"type": "quantity", "value": size, "unit": "1"} for size in sizes]
        attributes = [{"key": "size", "value": size} for size in sizes]
        link = {"predicate": "in", "object": "o6", "direction": "forward"}
        raw["entities"][f"e{i}"] = {"name": name, "attributes": attributes, "relations": [link]}
    return Knowledge(raw)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
        min_size=1, max_size=4,
    ),
    st.booleans(),
)  # fmt: skip
def test_one_is_chosen_where_every_choice_of_values_makes_it_the_first(values, largest):
    most = max if largest else min
    winners = {
        name
        for chosen in itertools.product(*(sizes for _, sizes in values))
        for (name, _), size in zip(values, chosen, strict=True)
        if size == most(chosen)
    }
    order = "largest" if largest else "smallest"
    asked = program(f"Find(Flux) Relate(in, backward) SelectAmong(size, {order})")
    if len(winners) == 1:
        traced = executed(several(values), asked)
        read = {(fact.head, fact.tail.content) for fact in traced.facts if fact.relation == "size"}
        assert {traced.answer} == winners
        assert read == {(f"e{i}", n) for i, (_, sizes) in enumerate(values) for n in sizes}
    else:
        with pytest.raises(ProgramError, match=r"step 2 .* by 'size' it may be '[ab]' or '[bc]'"):
            executed(several(values), asked)


def test_one_side_of_several_names_is_no_answer_but_may_be_behind():
    town = several([("a", [5]), ("b", [6]), ("c", [7]), ("a", [9])])
    sides = "Find(Flux) Relate(in, backward) FilterNum(size, 7, <) Find(c) SelectBetween"
    assert executed(town, program(f"{sides}(size, greater)")).answer == "c"
    with pytest.raises(ProgramError, match="it may be 'a' or 'b'") as refused:
        executed(town, program(f"{sides}(size, less)"))
    assert refused.value.reason == "ambiguous"


def with_relation(head, predicate, tail):
    """The knowledge base with one more relation, from 1999 on."""
    raw = content()
    years = {"start time": [{"type": "year", "value": 1999}]}
    row = {"predicate": predicate, "object": tail, "direction": "forward", "qualifiers": years}
    raw["entities"][head]["relations"].append(row)
    return Knowledge(raw)


def test_a_qualifier_is_that_of_the_relation_asked_for():
    known = with_relation("p1", "adviser of", "o1")
    both = "Find(Ada Brandt) Find(Acme) "
    for relation, year in (("employer", "1975"), ("adviser of", "1999")):
        steps = program(f"{both}QueryRelationQualifier({relation}, start time)")
        assert executed(known, steps).answer == year
    with pytest.raises(ProgramError, match=r"step 2 .* 2 answers"):
        executed(known, program(f"{both}QueryRelation()"))


def test_a_relation_is_answered_as_a_phrase_and_asked_for_by_its_key():
    known = with_relation("o4", "hq_in", "t1")
    both = "Find(Dyna) Find(Arnby) "
    for last, answer in (("()", "hq in"), ("Qualifier(hq_in, start time)", "1999")):
        assert executed(known, program(f"{both}QueryRelation{last}")).answer == answer


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "malformed program"),
        ({"function": "FindAll"}, "malformed program"),
        ("FindAll", "malformed program"),
        (["FindAll"], "unknown function"),
        ([3], "unknown function"),
        ([{"inputs": []}], "unknown function"),
        ([step(["Find"], "Acme")], "unknown function"),
        ([step("__class__")], "unknown function"),
        ([step("Find", "Acme", after=[0])], "malformed dependencies"),
        ([step("FindAll"), step("Count", after=[1])], "malformed dependencies"),
        ([step("FindAll"), step("Count", after=[-1])], "malformed dependencies"),
        ([*[step("FindAll")] * 2, step("Count", after=[True])], "malformed dependencies"),
        ([step("FindAll"), step("Count", after=["0"])], "malformed dependencies"),
        ([step("FindAll"), step("Count", after=[0, 0])], "malformed dependencies"),
        ([step("FindAll"), {"function": "Count", "dependencies": 0}], "malformed dependencies"),
        ([step("FindAll"), {"function": "Count"}], "malformed dependencies"),
        ([step("Find")], "malformed input"),
        ([step("Find", "Acme", "Bolt")], "malformed input"),
        ([step("Find", None)], "malformed input"),
        ([step("Find", True)], "malformed input"),
        ([step("Find", ["Acme"])], "malformed input"),
        ([{"function": "Find", "inputs": "Acme"}], "malformed input"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_program_of_a_wrong_form_is_refused(steps, reason):
    with pytest.raises(ProgramError) as refused:
        executed(TOWN, steps)
    assert refused.value.reason == reason
    assert reason == "malformed program" or f"step {len(steps) - 1}" in str(refused.value)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            step("Relate", "employer", after=[0]),
            r"\(Relate\): it takes texts, 2 in all, not \['emp",
        ),
        (step("Count", after=[1]), r"takes numbers of steps before it, 1 in all, not \[1\]"),
    ],
    ids=["inputs", "dependencies"],
)
def test_what_a_function_takes_is_told(last, message):
    with pytest.raises(ProgramError, match=message):
        executed(TOWN, [step("FindAll"), last])


def test_an_unknown_function_is_told_beside_the_nearest():
    with pytest.raises(ProgramError, match=r"'Relat' is unknown; did you mean 'Relate'"):
        executed(TOWN, [step("Relat")])


def test_the_kind_of_an_answer():
    kinds = {
        "FindAll() Count()": "count",
        "Find(Boholm) QueryAttr(population)": "number",
        "Find(Cia Dorn) QueryAttr(date of birth)": "number",
        "Find(Dag Ek) QueryAttr(date of birth)": "",
        "Find(Boholm) QueryAttr(postal code)": "",
        "Find(Boholm) QueryAttr(postal code) VerifyStr(1)": "bool",
        "Find(Boholm) QueryName()": "entity",
        "Find(Salt) Find(Ada Brandt) QueryRelation()": "",
        "FindAll() FilterConcept(river) SelectAmong(length, largest)": "entity",
    }
    assert {text: executed(TOWN, program(text)).kind for text in kinds} == kinds


RELATED = sorted({(way, name) for way, _, name in TOWN.related})


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_walks_of_any_relations_give_a_graph_that_the_question_leads_through(seed):
    """Every fact of a walk that is counted joins an entity of the step before it: tried slowly."""
    rng = random.Random(seed)
    start = rng.choice([*TOWN.everything])
    reached, layers = {*TOWN.ids[TOWN.names[start]]}, []
    steps = [step("Find", TOWN.names[start])]
    for _ in range(rng.randint(1, 4)):
        ways = [(way, name) for way, name in RELATED
                if any((way, i, name) in TOWN.related for i in reached)]  # fmt: skip
        if not ways:
            break
        way, name = rng.choice(ways)
        ends = ("head", "tail") if way == "forward" else ("tail", "head")
        facts = [f for f in TOWN.facts if f.relation == name and getattr(f, ends[0]) in reached]
        layers.append((facts, *ends))
        reached = {getattr(f, ends[1]) for f in facts}
        steps.append(step("Relate", name, way, after=[len(steps) - 1]))
    steps.append(step("Count", after=[len(steps) - 1]))
    traced = executed(TOWN, steps)
    assert traced.answer == str(len(reached))
    wanted, evidence = set(reached), set()
    for facts, source, target in reversed(layers):
        leading = [f for f in facts if getattr(f, target) in wanted]
        evidence |= {f.place for f in leading}
        wanted = {getattr(f, source) for f in leading}
    assert {fact.place for fact in traced.facts} == evidence
    if traced.facts:
        edges = checked(traced.edges, len(traced.facts), "walk")
        assert sorted(reading_order(edges)) == [*range(len(traced.facts))]
        for u, v in edges:
            ends = [{f.head, f.tail} for f in (traced.facts[max(u, 0)], traced.facts[v])]
            assert u == ROOT or (u < v and ends[0] & ends[1])
