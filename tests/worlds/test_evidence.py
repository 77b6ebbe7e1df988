"""Questions of a world: answered again from their gold facts alone, by other code."""

import random
import re
from collections import Counter
from itertools import islice, pairwise

import pytest

from workbench.errors import DatasetError
from workbench.retrieval.graphs import ROOT, checked, nodes
from workbench.worlds.evidence import FAMILIES
from workbench.worlds.facts import World
from workbench.worlds.pools import candidates, chains, questions
from workbench.worlds.relations import ATTRIBUTES, RELATIONS


@pytest.fixture(scope="module")
def drafts():
    """Family → (world, draft)s."""
    worlds = [World("test", i) for i in range(2)]
    rng = random.Random(0)
    made = {}
    for name, family in FAMILIES.items():
        made[name] = []
        while len(made[name]) < 60:
            world = rng.choice(worlds)
            if draft := family(world, rng):
                made[name].append((world, draft))
    return made


def answer(program, facts):
    """What a program gives on some facts, by searching them all at each step."""
    results = []
    for step in program:
        before = [results[i] for i in step["dependencies"]]
        match step["function"], step["inputs"]:
            case "Find", [name]:
                result = {name}
            case "Relate", [relation, "forward"]:
                result = {f.tail for f in facts if f.relation == relation and f.head in before[0]}
            case "Relate", [relation, "backward"]:
                result = {f.head for f in facts if f.relation == relation and f.tail in before[0]}
            case "And", []:
                result = before[0] & before[1]
            case "What", []:
                (result,) = before[0]
            case "Count", []:
                result = len(before[0])
            case "QueryAttr", [name]:
                (result,) = {f.tail for f in facts if f.relation == name and f.head in before[0]}
            case "VerifyStr", [name]:
                result = "yes" if before[0] == name else "no"
            case "VerifyNum", [number, ">"]:
                result = "yes" if before[0] > int(number) else "no"
            case ("SelectBetween", [name, "greater"]) | ("SelectAmong", [name, "largest"]):
                assert all(before)
                among = set().union(*before)
                values = {f.tail: f.head for f in facts if f.relation == name and f.head in among}
                assert len(values) == len(among)
                result = values[max(values)]
        results.append(result)
    return results[-1]


def gold(world, draft):
    return [world.facts[place] for place in nodes(draft.edges)]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_program_gives_the_answer_on_the_gold_facts_and_on_the_whole_world(drafts, name):
    for world, draft in drafts[name]:
        assert str(answer(draft.program, gold(world, draft))) == str(draft.answer)
        assert str(answer(draft.program, world.facts)) == str(draft.answer)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_gold_fact_can_be_left_out(drafts, name):
    """Without any of them the program has no answer, or another one.

    A `no` may stay one, and who has most stays so among fewer.
    """
    for world, draft in drafts[name]:
        facts = gold(world, draft)
        for i in range(len(facts)):
            try:
                without = answer(draft.program, facts[:i] + facts[i + 1 :])
            except (ValueError, AssertionError, TypeError):
                continue
            stays = draft.answer == "no" or name == "most_of_heads"
            assert stays or str(without) != str(draft.answer), draft.question


@pytest.mark.parametrize("name", FAMILIES)
def test_edges_follow_shared_entities_from_the_question(drafts, name):
    for world, draft in drafts[name]:
        edges = checked(draft.edges, len(world.facts), name)
        for u, v in edges:
            after = {world.facts[v].head, world.facts[v].tail}
            if u == ROOT:
                assert any(str(entity) in draft.question for entity in after)
            else:
                assert after & {world.facts[u].head, world.facts[u].tail}


def test_shapes_of_the_families(drafts):
    from workbench.retrieval.graphs import structure

    shapes = {name: {structure(d.edges) for _, d in made} for name, made in drafts.items()}
    assert shapes["lookup_attribute"] == shapes["verify_number"] == {"SCSH"}
    assert shapes["bridge_of_two"] == shapes["bridge_of_three"] == {"SCMH"}
    assert shapes["verify_name"] == {"SCSH", "SCMH"}
    assert shapes["compare"] == shapes["count"] == {"MCSH"}
    assert shapes["compare_bridge"] == shapes["intersect"] == shapes["most_of_heads"] == {"MCMH"}
    assert shapes["count_bridge"] == {"SCMH", "MCMH"}


def test_truths_are_balanced(drafts):
    for name in ("verify_number", "verify_name"):
        answers = Counter(draft.answer for _, draft in drafts[name])
        assert min(answers.values()) > 15, answers


@pytest.fixture(scope="module")
def asked():
    return questions("test", 240)


def test_questions_differ_and_come_by_families_in_turn(asked):
    assert len({question.question for question in asked}) == len(asked)
    assert [question.id for question in asked[:2]] == ["test-0", "test-1"]
    lasts = [question.program[-1]["function"] for question in asked]
    assert lasts[0::12] == ["QueryAttr"] * 20
    assert lasts[7::12] == ["Count"] * 20
    shares = Counter(question.structure for question in asked)
    assert all(shares[s] >= 0.12 * len(asked) for s in ("SCSH", "SCMH", "MCSH", "MCMH")), shares


def test_pools_hold_the_gold_facts_and_each_fact_once(asked):
    for question in asked:
        assert len(question.facts) == len({*question.facts}) == 25
        assert checked(question.edges, 25, question.id) == question.edges
        assert len(question.nodes) <= 10
    places = Counter(node for question in asked for node in question.nodes)
    assert max(places.values()) < 3 * min(places[i] for i in range(25))


def relation_of(text):
    """The relations and attributes that a sentence may state."""
    return {
        name
        for name, relation in (RELATIONS | ATTRIBUTES).items()
        for sentence in relation.sentences
        if re.fullmatch(re.sub(r"\\\{\w\\\}", ".+", re.escape(sentence)), text)
    }


def test_a_relation_tells_no_gold_fact_from_its_decoys(asked):
    """Every gold fact of a chain has a fact of its own relation beside it in nearly every pool."""
    alone = total = 0
    for question in asked:
        relations = [relation_of(fact) for fact in question.facts]
        gold_places = set(question.nodes)
        for node in question.nodes:
            total += 1
            alone += not any(
                relations[node] & relations[i] for i in range(25) if i not in gold_places
            )
    assert alone < 0.02 * total


def test_decoys_are_whole_chains_from_other_starts(drafts):
    rng, whole = random.Random(2), 0
    for world, draft in (case for made in drafts.values() for case in made):
        for chain in draft.chains:
            for places in islice(chains(world, chain, rng), 3):
                facts = [world.facts[place] for place in places]
                whole += 1
                attribute = (chain.attribute,) if chain.attribute else ()
                assert tuple(fact.relation for fact in facts) == (*chain.relations, *attribute)
                start = facts[0].tail if chain.inverse else facts[0].head
                assert start != chain.start
                assert world.kinds[start] == world.kinds[chain.start]
                for i, (fact, after) in enumerate(pairwise(facts)):
                    assert after.head == (fact.head if chain.inverse and i == 0 else fact.tail)
    assert whole > 2000


def test_pools_hold_others_of_a_gold_relation_and_of_a_gold_entity(drafts):
    """Far more than a random filling brings, also without decoy chains."""
    rng, alike, about = random.Random(3), [], []
    for world, draft in drafts["lookup_attribute"]:
        (place,) = nodes(draft.edges)
        others = [world.facts[i] for i in candidates(world, draft, rng, 25, 0) if i != place]
        alike.append(sum(fact.relation == world.facts[place].relation for fact in others))
        about.append(sum(world.facts[place].head in (fact.head, fact.tail) for fact in others))
    assert sum(alike) > 2 * len(alike)
    assert sum(about) > 2 * len(about)


def test_answers_are_of_the_kind_that_is_stated_and_worlds_take_turns(asked):
    for question in asked:
        counted = question.program[-1]["function"] == "Count"
        kind = "bool" if question.answer in ("yes", "no") else "entity"
        if question.answer.isdigit():
            kind = "count" if counted else "number"
        assert question.answer_kind == kind, question.question
        assert not counted or 1 <= int(question.answer) <= 4
    worlds = Counter(question.world for question in asked)
    assert sorted(worlds) == ["test-0", "test-1"]
    assert min(worlds.values()) > 0.3 * len(asked)


def test_without_decoys_pools_are_easier(drafts):
    rng = random.Random(1)

    def beside(world, draft, decoys):
        places = candidates(world, draft, rng, 25, decoys)
        wanted = {world.facts[i].relation for i in nodes(draft.edges)}
        return sum(world.facts[i].relation in wanted for i in places)

    cases = [case for made in drafts.values() for case in made]
    counts = [sum(beside(*case, decoys) for case in cases) for decoys in (0, 2, 4)]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "count"),
        ({"count": 5, "worlds": 0}, "worlds"),
        ({"count": 5, "pool": 3}, "pool"),
        ({"count": 5, "families": ("riddle",)}, "riddle"),
        ({"count": 5, "families": ()}, "families"),
        ({"count": 5, "families": "count"}, "families must be a list"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        questions("test", **options)


def test_a_world_too_small_for_so_many_questions_says_so():
    with pytest.raises(DatasetError, match="have no 400 different questions"):
        questions("test", 400, worlds=1, size=0.2)
