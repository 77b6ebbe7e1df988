"""Questions of chains: answered again from the world and from gold facts alone, by other code."""

import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from workbench.errors import DatasetError
from workbench.retrieval.graphs import ROOT, breadth, checked, checked_chain, depth, reading_order
from workbench.worlds import chain_questions
from workbench.worlds.chain_attributes import CHAINS, HELD_OUT
from workbench.worlds.chain_questions import TYPES
from workbench.worlds.chains import DEPTHS, questions
from workbench.worlds.facts import World
from workbench.worlds.names import SPLITS

WORLDS = {world.name: world for i in range(4) for world in [World("test", i, 1, CHAINS)]}
FACTS = {name: {fact.text: fact for fact in world.facts} for name, world in WORLDS.items()}


class Unsaid(Exception):  # noqa: N818
    """The facts do not say what a step needs."""


def only(results):
    if len(results) != 1:
        raise Unsaid(results)
    return next(iter(results))


def shown(fact):
    unit = CHAINS.attributes[fact.relation].unit
    return f"{fact.tail} {unit}" if unit not in ("", "year") else str(fact.tail)


def both_ways(facts):
    """(relation, head, tail, years) of each fact, both ways round where it is symmetric."""
    out = []
    for fact in facts:
        out.append((fact.relation, fact.head, fact.tail, fact))
        if fact.relation in CHAINS.relations and CHAINS.relations[fact.relation].symmetric:
            out.append((fact.relation, fact.tail, fact.head, fact))
    return out


def number(text):
    return int(text.split()[0])


def answer(program, facts):
    """What a program gives on some facts, by searching them all at each step."""
    stated, results = both_ways(facts), []
    for step in program:
        before = [results[i] for i in step["dependencies"]]
        match step["function"], step["inputs"]:
            case "Find", [name]:
                result = {name}
            case "Relate", [relation, "forward"]:
                result = {t for r, h, t, _ in stated if r == relation and h in before[0]}
            case "Relate", [relation, "backward"]:
                result = {h for r, h, t, _ in stated if r == relation and t in before[0]}
            case "FilterConcept", [kind]:
                kinds = {CHAINS.relations[r].head for r, h, _, _ in stated
                         if h in before[0] and r in CHAINS.relations}  # fmt: skip
                assert kinds <= {kind}
                result = before[0]
            case "What", []:
                result = only(before[0])
            case "Count", []:
                result = str(len(before[0]))
            case "QueryAttr", [key]:
                result = only([shown(f) for r, h, _, f in stated if r == key and h in before[0]])
            case "QueryAttrUnderCondition", [key, "point in time", year]:
                result = only(
                    [
                        shown(f)
                        for r, h, _, f in stated
                        if r == key and h in before[0] and str(f.years[0]) == year
                    ]
                )
            case "QueryAttrQualifier", [key, value, "point in time"]:
                result = only(
                    [
                        str(f.years[0])
                        for r, h, _, f in stated
                        if r == key and h in before[0] and shown(f) == value
                    ]
                )
            case "QueryRelation", []:
                heads, tails = before
                result = only({r for r, h, t, _ in stated if h in heads and t in tails}).replace(
                    "_", " "
                )
            case "QueryRelationQualifier", [relation, "start time" | "end time" as qualifier]:
                heads, tails = before
                result = only(
                    [
                        str(f.years[qualifier == "end time"])
                        for r, h, t, f in stated
                        if r == relation and h in heads and t in tails
                    ]
                )
            case "VerifyStr", [name]:
                result = "yes" if before[0] == name else "no"
            case "VerifyNum" | "VerifyYear", [limit, sign]:
                a, b = number(before[0]), number(limit)
                result = "yes" if {"<": a < b, ">": a > b, "=": a == b}[sign] else "no"
            case "SelectBetween" | "SelectAmong", [key, way]:
                among = {only(e) for e in before} if len(before) > 1 else before[0]
                values = {f.tail: h for r, h, _, f in stated if r == key and h in among}
                if len(values) != len(among):
                    raise Unsaid(values)
                result = values[(max if way in ("greater", "largest") else min)(values)]
            case what:
                raise AssertionError(what)
        if not result:
            raise Unsaid(step)
        results.append(result)
    return results[-1]


@pytest.fixture(scope="module")
def made():
    return questions("test", 2016)


def gold(question):
    return [FACTS[question.world][question.facts[i]] for i in question.chain]


def test_programs_give_the_answers_on_the_gold_facts(made):
    for question in made:
        assert answer(question.program, gold(question)) == question.answer, question


def test_what_is_shown_in_place_of_an_end_is_not_it():
    for question in questions("test", 700, types=("VerifyStr",)):
        assert answer(question.program, gold(question)) == question.answer, question


def test_programs_give_the_answers_on_the_whole_world(made):
    for question in made[:120]:
        facts = FACTS[question.world].values()
        assert answer(question.program, facts) == question.answer, question


def test_no_gold_fact_can_be_left_out(made):
    """Without any of them the program has no answer, or another one; who has most may stay so."""
    for question in made[:600]:
        facts = gold(question)
        for i in range(len(facts)):
            try:
                without = answer(question.program, facts[:i] + facts[i + 1 :])
            except Unsaid:
                continue
            last = question.program[-1]["function"]
            assert last == "SelectAmong" or without != question.answer, question


def wording(program):
    """The question that a program answers."""
    *steps, last = program
    inputs, of, ends = last["inputs"], CHAINS.relations, []
    if last["function"] == "VerifyStr":
        steps, relation = steps[:-2], steps[-2]["inputs"][0]
    if last["function"] in ("VerifyNum", "VerifyYear"):
        steps, (key,) = steps[:-1], steps[-1]["inputs"]
    for step in steps:
        match step["function"], step["inputs"]:
            case "Find", [name]:
                ends.append(name)
            case "Relate", [name, way]:
                phrase = of[name].of if way == "forward" else of[name].heads
                ends[-1] = phrase.replace("{x}", ends[-1])
    x, *y = ends
    name = lambda: CHAINS.attributes[inputs[0]].name  # noqa: E731
    year = inputs and inputs[0] in CHAINS.attributes and CHAINS.attributes[inputs[0]].unit == "year"
    match last["function"]:
        case "What":
            return f"What is {x}?"
        case "QueryAttr":
            return f"What is the {name()} of {x}?"
        case "QueryAttrUnderCondition":
            return f"What was the {name()} of {x} in {inputs[2]}?"
        case "QueryAttrQualifier":
            return f"In which year was the {name()} of {x} {inputs[1]}?"
        case "QueryRelation":
            return f"How is {x} related to {y[0]}?"
        case "QueryRelationQualifier":
            when = {"start time": "Since", "end time": "Until"}[inputs[1]]
            return f"{when} when {of[inputs[0]].asks.format(x=x, t=y[0])}?"
        case "SelectBetween":
            more = {"greater": ("greater", "later"), "less": ("smaller", "earlier")}
            return f"Which one has the {more[inputs[1]][year]} {name()}, {x} or {y[0]}?"
        case "SelectAmong":
            most = {"largest": ("greatest", "latest"), "smallest": ("smallest", "earliest")}
            return f"Which of the {x} has the {most[inputs[1]][year]} {name()}?"
        case "Count":
            return f"How many {x} are there?"
        case "VerifyStr":
            asks = of[relation].asks.format(x=x, t=inputs[0])
            return asks[0].upper() + asks[1:] + "?"
        case "VerifyNum":
            than = {">": "greater", "<": "less"}[inputs[1]]
            return f"Is the {CHAINS.attributes[key].name} of {x} {than} than {inputs[0]}?"
        case "VerifyYear":
            than = {">": "after ", "<": "before ", "=": ""}[inputs[1]]
            return f"Is the {CHAINS.attributes[key].name} of {x} {than}{inputs[0]}?"


def test_a_question_says_what_its_program_does(made):
    for question in made:
        assert question.question == wording(question.program)


def test_what_is_verified_is_of_the_same_kind_or_range(made):
    for question in made:
        last, before = question.program[-1], question.program[-2]
        if last["function"] == "VerifyStr":
            world = WORLDS[question.world]
            assert world.kinds[last["inputs"][0]] == world.kinds[gold(question)[-1].tail]
        elif last["function"].startswith("Verify"):
            attribute = CHAINS.attributes[before["inputs"][0]]
            assert attribute.least <= number(last["inputs"][0]) <= attribute.most
            assert (attribute.unit == "year") == (last["function"] == "VerifyYear")


@pytest.mark.parametrize("name", TYPES)
def test_the_depth_that_is_asked_for_is_the_longest_path_and_heads_leave_room_for_it(name):
    lengths = DEPTHS[name == "SelectAmong" :]
    heads = defaultdict(int)
    for i, question in enumerate(questions("dev", 140, worlds=2, types=(name,))):
        length = lengths[i % len(lengths)]
        assert depth(question.edges) == length
        heads[length] = max(heads[length], breadth(question.edges))
    if name == "SelectAmong":
        assert all(most <= (12 - length) // 2 for length, most in heads.items())
        assert (max(heads.values()), heads[7]) == (4, 2)


@pytest.mark.parametrize("pool", [16, 25])
def test_pools_hold_what_is_shown_and_another_end_as_often_for_yes_as_for_no(pool):
    asked, mentions = Counter(), Counter()
    for question in questions("test", 1200, types=("VerifyStr", "VerifyYear"), pool=pool):
        name, *sign = question.program[-1]["inputs"]
        if sign and sign != ["="]:
            continue
        last, facts = gold(question)[-1], [FACTS[question.world][text] for text in question.facts]
        of_key = [fact for fact in facts if fact.key == last.key]
        assert any(name in (fact.head, str(fact.tail)) for fact in of_key), question
        assert len({fact.tail for fact in of_key}) > 1
        asked[question.answer] += 1
        mentions[question.answer] += sum(name in (fact.head, str(fact.tail)) for fact in facts)
    assert min(asked.values()) > 350
    often = [mentions[answer] / asked[answer] for answer in ("yes", "no")]
    assert max(often) < 1.1 * min(often)


def test_what_has_no_other_end_is_not_asked(monkeypatch):
    monkeypatch.setattr(chain_questions, "unlike", lambda *_: None)
    world, rng = WORLDS["chains-test-0"], random.Random(0)
    for truth in (True, False):
        assert not any(TYPES["VerifyStr"](world, rng, 2, truth) for _ in range(200))
        drafts = [TYPES["VerifyYear"](world, rng, 2, truth) for _ in range(200)]
        signs = Counter(draft.program[-1]["inputs"][1] for draft in drafts if draft)
        assert set(signs) == {"<", ">"}


def test_no_answer_of_a_type_is_right_for_most(made):
    for name in TYPES:
        answers = Counter(q.answer for q in made if q.program[-1]["function"] == name)
        most = 0.5 if name.startswith("Verify") else 0.45
        assert max(answers.values()) <= most * answers.total(), (name, answers)


def test_edges_follow_shared_entities_from_the_question_in_the_order_of_the_program(made):
    for question in made:
        edges = checked(question.edges, len(question.facts), question.id)
        assert checked_chain(question.chain, edges, question.id) == question.chain
        facts = {i: FACTS[question.world][question.facts[i]] for i in question.chain}
        for u, v in edges:
            after = {facts[v].head, facts[v].tail}
            if u == ROOT:
                assert any(str(entity) in question.question for entity in after)
            else:
                assert after & {facts[u].head, facts[u].tail}
        asked = [
            (step["inputs"] or [""])[0]
            for step in question.program
            if step["function"].startswith(("Relate", "Query", "Select"))
        ]
        read = list(dict.fromkeys(fact.relation for fact in facts.values()))
        if question.program[-1]["function"] != "QueryRelation":
            assert read == list(dict.fromkeys(asked)), question
        else:
            last = facts[question.chain[-1]].relation.replace("_", " ")
            assert (question.answer, question.answer_kind) == (last, "")


def test_no_entity_is_met_again_on_a_path(made):
    for question in made:
        facts = gold(question)
        if question.program[-1]["function"] in ("SelectBetween", "SelectAmong", "Count"):
            continue
        ends = [str(end) for fact in facts for end in (fact.head, fact.tail)]
        assert all(n <= 2 for n in Counter(ends).values()), question
        assert len(reading_order(question.edges)) == len(facts) == depth(question.edges)


def test_types_and_depths_come_in_turn(made):
    lasts = [question.program[-1]["function"] for question in made]
    assert lasts == [*TYPES] * (len(made) // len(TYPES))
    depths = Counter(zip(lasts, (depth(q.edges) for q in made), strict=True))
    for name in TYPES:
        among = DEPTHS[1:] if name == "SelectAmong" else DEPTHS
        assert {depths[name, d] for d in among} == {len(made) // 12 // len(among)}
    assert not depths["SelectAmong", 1]


@pytest.mark.parametrize("types", [("VerifyNum",), ("VerifyStr", "VerifyYear"), (*TYPES,)])
@pytest.mark.parametrize("depths", [(1, 2), (1, 2, 3), (5,)])
def test_as_many_are_yes_as_no_after_each_question_of_a_type_and_at_each_depth(types, depths):
    tally, by_depth = Counter(), defaultdict(Counter)
    count = 6 * len(types) * len(depths)
    for question in questions("dev", count, worlds=1, types=types, depths=depths):
        if question.answer_kind != "bool":
            continue
        name = question.program[-1]["function"]
        for key in (name, "all"):
            tally[key] += 1 if question.answer == "yes" else -1
            assert abs(tally[key]) <= 1
        by_depth[name, depth(question.edges)][question.answer] += 1
    assert all(n["yes"] == n["no"] == 3 for n in by_depth.values()), by_depth


def test_pools_hold_the_gold_facts_and_each_fact_once(made):
    places = Counter()
    for question in made:
        assert len(question.facts) == len({*question.facts}) == 25
        assert len(question.chain) <= 10
        places.update(question.chain)
    assert max(places.values()) < 1.5 * min(places[i] for i in range(25))


def whole_chains(facts, keys):
    """Each whole chain of these relations among some facts, each start tried."""
    leads = {(fact.key, head): (fact, tail) for _, head, tail, fact in both_ways(facts)}
    made = [[leads[key, head]] for key, head in leads if key == keys[0]]
    for key in keys[1:]:
        made = [
            [*chain, after]
            for chain in made
            if (after := leads.get((key, chain[-1][1]))) and after[0] not in [f for f, _ in chain]
        ]
    return [{fact.text for fact, _ in chain} for chain in made]


def test_pools_hold_two_whole_decoy_chains_that_share_nothing_with_gold():
    short, merged = 0, 0
    asked = questions("test", 420, types=("What", "QueryAttr", "VerifyStr"))
    for question in asked:
        facts = [FACTS[question.world][text] for text in question.facts]
        told = {fact.text for fact in gold(question)}
        chains = whole_chains(facts, [fact.key for fact in gold(question)])
        assert told in chains
        short += len(chains) < 3
        merged += sum(chain.isdisjoint(told) for chain in chains) < 2
    assert short <= 0.03 * len(asked)
    assert merged <= 0.15 * len(asked)


def test_the_same_questions_whatever_the_pool_and_in_words_never_else_used():
    first = questions("test", 24)
    for other in (
        questions("test", 24, pool=10, decoys=0),
        questions("test", 24, pool=1000, decoys=4),
        questions("test", 24, pool=0),
    ):
        assert [q.question for q in other] == [q.question for q in first]
        assert [gold(q) for q in other] == [gold(q) for q in first]
    assert {len(q.facts) for q in other} == {len(WORLDS[q.world].facts) for q in other}
    held = questions("test", 24, held_out=True)
    for question, same in zip(held, first, strict=True):
        assert (question.question, question.answer) == (same.question, same.answer)
        assert question.edges == same.edges
        assert question.chain == same.chain
        assert not {*question.facts} & {*same.facts}


def test_worlds_in_held_out_words_say_the_same():
    held = World("test", 0, 1, HELD_OUT)
    for fact, same in zip(held.facts, WORLDS["chains-test-0"].facts, strict=True):
        assert fact.text != same.text
        assert (fact.key, fact.head, fact.tail, fact.years) == (
            same.key, same.head, same.tail, same.years,
        )  # fmt: skip


def test_facts_differ_and_what_is_symmetric_holds_once():
    for world in WORLDS.values():
        assert 2700 < len(world.facts) < 3200
        assert len({fact.text for fact in world.facts}) == len(world.facts)
        stated = both_ways(world.facts)
        # Of one head a relation has one tail, and an attribute one value in each year.
        assert len({(fact.key, head) for _, head, _, fact in stated}) == len(stated)


def test_splits_share_no_name_fact_or_question():
    worlds = {split: [World(split, i, 1, CHAINS) for i in range(2)] for split in SPLITS}
    asked = {split: {q.question for q in questions(split, 120)} for split in SPLITS}
    for a, b in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for kind in CHAINS.counts:
            names = [{n for w in worlds[s] for n in w.members[kind]} for s in (a, b)]
            assert not names[0] & names[1], kind
        facts = [{f.text for w in worlds[s] for f in w.facts} for s in (a, b)]
        assert not facts[0] & facts[1]
        assert not asked[a] & asked[b]


def test_other_years_of_an_attribute_stand_beside_it(made):
    for question in made:
        if question.program[-1]["function"] in ("QueryAttrUnderCondition", "QueryAttrQualifier"):
            last = gold(question)[-1]
            years = {
                fact.years
                for text in question.facts
                if (fact := FACTS[question.world][text]).head == last.head
                and fact.relation == last.relation
            }
            assert len(years) == 2
            assert last.years in years


def test_questions_are_the_same_whatever_the_hash_seed():
    script = (
        "from workbench.worlds.chains import questions\n"
        "from workbench.hashing import digest\n"
        "print(digest([vars(q) for q in questions('dev', 120)]))"
    )
    digests = set()
    for seed in ("0", "1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed,
               "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
        run = subprocess.run([sys.executable, "-c", script], check=True, env=env,
                             capture_output=True)  # fmt: skip
        digests.add(run.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 0}, "count"),
        ({"pool": 5}, "pool"),
        ({"pool": -1}, "pool"),
        ({"depths": (0, 1)}, "depths"),
        ({"depths": (8,)}, "depths"),
        ({"depths": ()}, "depths"),
        ({"depths": (2, 2)}, "depths"),
        ({"types": ("Which",)}, "type"),
        ({"types": ("What", "What")}, "types"),
        ({"depths": (1,)}, "SelectAmong questions have a depth of 2"),
        ({"held_out": 1}, "held_out"),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        questions("test", **{"count": 12, **wrong})


def test_too_few_different_questions_are_refused_by_type_and_depth():
    with pytest.raises(DatasetError, match="of type SelectAmong and depth 2, is not to be had"):
        questions("test", 500, worlds=1, size=0.1, types=("SelectAmong",), depths=(2,))
