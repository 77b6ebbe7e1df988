"""Files of evidence: there and back in both forms; every fault is named."""

import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from tests.retrieval.graph_cases import random_edges
from workbench.errors import DatasetError, GraphError
from workbench.paths import small_folder
from workbench.retrieval.evidence_files import (
    as_official,
    as_row,
    read_evidence,
    write_evidence,
    write_official,
)
from workbench.retrieval.graphs import ROOT, Evidence, checked, depth

FACTS = ["Ada was born in Rome.", "Rome lies in Italy.", "Bo was born in Oslo.", "Ada is 170 tall."]


def row(**changes):
    made = {"id": "a", "question": "Where?", "facts": FACTS, "edges": [[-1, 0], [0, 1]]}
    return {name: value for name, value in (made | changes).items() if value != "drop"}


def link(text, before=(), after=()):
    return {"facts": text, "relation": {"before": list(before), "after": list(after)}}


def official(**changes):
    links = [link(FACTS[0], after=[FACTS[1]]), link(FACTS[1], before=[FACTS[0]])]
    made = {"question": "Where?", "fact": FACTS, "order_true_fact": links,
            "program": [{"function": "Find"}, {"function": "What"}]}  # fmt: skip
    return made | changes


@pytest.fixture
def file(tmp_path):
    def write(*rows, name="evidence.json"):
        path = tmp_path / name
        path.write_text(json.dumps(list(rows)), encoding="utf-8")
        return path

    return write


def without_joins(edges):
    """No fact that both the question and another fact lead to, which the official form has not."""
    inner = {v for u, v in edges if u != ROOT}
    return [(u, v) for u, v in edges if u != ROOT or v not in inner]


def test_there_and_back(tmp_path):
    rng = random.Random(0)
    asked = []
    for i in range(50):
        edges = without_joins(random_edges(rng, rng.randint(1, 6)))
        facts = tuple(f"Fact {rng.random()} of {i}." for _ in range(12))
        program = ({"function": "Find", "inputs": ["é"], "dependencies": []},)
        asked.append(Evidence(f"q{i}", f"Q {i}?", facts, checked(edges, 12, "q"), "7", "number",
                              program, "w"))  # fmt: skip
    ours, theirs = tmp_path / "ours.jsonl", tmp_path / "theirs.json"
    write_evidence(ours, asked)
    assert read_evidence(ours) == asked
    write_official(theirs, asked)
    back = read_evidence(theirs)
    assert [e.edges for e in back] == [e.edges for e in asked]
    assert [e.facts for e in back] == [e.facts for e in asked]
    assert [as_official(e) for e in back] == [as_official(e) for e in asked]


def test_an_official_sample_is_read_by_whole_texts(file):
    """A fact that is part of another is another fact (trap 4)."""
    short = "Ada was born"
    links = [link(short, after=[FACTS[0]]), link(FACTS[0], before=[short])]
    (evidence,) = read_evidence(file(official(fact=[*FACTS, short], order_true_fact=links)))
    assert evidence.edges == ((ROOT, 4), (4, 0))
    assert evidence.reasoning == "Query"
    assert evidence.id == "0"


def test_pools_may_be_of_any_size(file):
    sizes = [len(e.facts) for e in read_evidence(file(row(), row(id="b", facts=FACTS[:2])))]
    assert sizes == [4, 2]


def test_a_fact_that_is_there_twice_is_the_first(file, caplog):
    (evidence,) = read_evidence(file(row(facts=[*FACTS, FACTS[1]], edges=[[-1, 0], [0, 4]])))
    assert evidence.facts == tuple(FACTS)
    assert evidence.edges == ((ROOT, 0), (0, 1))
    assert "1 facts are in their pool twice" in caplog.text


def test_a_chain_is_of_the_facts_that_remain(file):
    told = [FACTS[0], FACTS[0], FACTS[2], FACTS[1]]
    made = row(facts=told, edges=[[-1, 1], [-1, 2], [2, 3]], chain=[2, 1, 3])
    (evidence,) = read_evidence(file(made))
    assert [evidence.facts[i] for i in evidence.chain] == [FACTS[2], FACTS[0], FACTS[1]]
    both = row(facts=told, edges=[[-1, 0], [-1, 1], [-1, 2]], chain=[1, 2, 0])
    assert read_evidence(file(both))[0].chain == (0, 1)
    assert [e.chain for e in read_evidence(file(row(chain=[]), row(id="b", chain=None)))] == [
        (),
        (),
    ]


def test_rows_without_a_chain_are_as_before_and_rows_with_one_come_back(tmp_path):
    plain = Evidence("a", "Where?", tuple(FACTS), ((ROOT, 0), (ROOT, 2), (0, 1)))
    asked = [plain, replace(plain, id="b", chain=(2, 0, 1))]
    assert "chain" not in as_row(plain)
    write_evidence(tmp_path / "out.jsonl", asked)
    assert read_evidence(tmp_path / "out.jsonl") == asked
    with pytest.raises(GraphError, match=r"^b: chain reads fact 1 before fact 0"):
        write_evidence(tmp_path / "no.jsonl", [plain, replace(plain, id="b", chain=(2, 1, 0))])
    assert not (tmp_path / "no.jsonl").exists()


OURS = [
    ({"facts": "drop"}, "no field 'facts'; expected graphhop/v1"),
    ({"edges": "drop"}, "no field 'edges'"),
    ({"question": "drop"}, "no field 'question'"),
    ({"question": " "}, "field 'question'"),
    ({"question": 7}, "field 'question'"),
    ({"facts": []}, "field 'facts'"),
    ({"facts": "Ada."}, "field 'facts'"),
    ({"facts": [*FACTS, "  "]}, "entry 4 is '  '"),
    ({"facts": [*FACTS, None]}, "entry 4 is None"),
    ({"edges": [[-1, 0], [0, 9]]}, r"edge \(0, 9\) leaves the 4 facts"),
    ({"edges": []}, "no edges"),
    ({"edges": [[0, 1], [1, 0]]}, "circle"),
    ({"edges": 3}, "field 'edges'"),
    ({"edges": [[-1, 0], [1, 2]]}, "nothing leads from the question"),
    ({"answer_type": "song"}, "answer_type 'song'"),
    ({"structure": "MCMH"}, "structure is 'MCMH', but its edges and program make it 'SCMH'"),
    ({"depth": 4}, "depth is 4"),
    ({"reasoning_type": "Bool"}, "reasoning_type is 'Bool', but its edges and program make it 'Ot"),
    ({"id": ["b"]}, r"field 'id' is \['b'\]; write it as text"),
    ({"answer": ["Rome"]}, "field 'answer' is"),
    ({"answer": True}, "field 'answer' is True"),
    ({"answer": float("nan")}, "field 'answer' is nan"),
    ({"world": {}}, "field 'world'"),
    ({"answer_type": {}}, "field 'answer_type'"),
    ({"program": ["Find"]}, "program"),
    ({"chain": [1, 0]}, "chain reads fact 1 before fact 0, which leads to it"),
    ({"chain": [0]}, r"chain .0.: fact 1 is missing"),
    ({"chain": 0}, "chain 0 is no list of whole numbers"),
]  # fmt: skip
OFFICIAL = [
    ({"fact": FACTS[1:]}, "names 'Ada was born in Rome.', which is not among its facts; the near"),
    ({"order_true_fact": []}, "no edges"),
    ({"order_true_fact": "x"}, "order_true_fact has 'x'"),
    ({"order_true_fact": [{"facts": FACTS[0]}]}, "order_true_fact has"),
    ({"order_true_fact": [{"facts": FACTS[0], "relation": "x"}]}, "order_true_fact has"),
    ({"order_true_fact": [link([FACTS[0]])]}, "order_true_fact names .'Ada was born in Rome.'."),
    ({"order_true_fact": [link(FACTS[0], after=[[FACTS[1]]])]}, "order_true_fact names .'Rome"),
    ({"order_true_fact": [link(FACTS[0], after=[FACTS[1]])]}, "one is 'after' of the other"),
    ({"order_true_fact": [link(FACTS[1], before=[FACTS[0]])]}, "one is 'before' of the other"),
]


@pytest.mark.parametrize(("changes", "said"), OURS)
def test_faults_of_our_form_are_named_with_their_row(file, changes, said):
    path = file(row(), row(**({"id": "b"} | changes)))
    with pytest.raises(DatasetError, match=said) as fault:
        read_evidence(path)
    assert f"{path} row 1" in str(fault.value)


@pytest.mark.parametrize(("changes", "said"), OFFICIAL)
def test_faults_of_the_official_form_are_named_with_their_row(file, changes, said):
    path = file(official(), official(**changes))
    with pytest.raises(DatasetError, match=said) as fault:
        read_evidence(path)
    assert f"{path} row 1" in str(fault.value)


def test_questions_of_a_database_share_its_facts(file):
    asked = [row(facts="drop"), row(id="b", facts="drop", edges=[[-1, 2]])]
    path = file({"facts": FACTS, "questions": asked})
    assert [e.edges for e in read_evidence(path)] == [((ROOT, 0), (0, 1)), ((ROOT, 2),)]
    path = file({"facts": FACTS, "questions": [*asked, row(id="c", facts="drop", edges=[])]})
    with pytest.raises(DatasetError, match="question 2: no edges"):
        read_evidence(path)
    for wrong in ("all", [3], {"a": 1}):
        with pytest.raises(DatasetError, match="'questions' must be a list of objects"):
            read_evidence(file({"facts": FACTS, "questions": wrong}))


def test_our_own_database_is_of_short_facts_and_questions_of_all_hops():
    asked = read_evidence(small_folder() / "lake.json")
    (facts,) = {evidence.facts for evidence in asked}
    assert (len(facts), len(asked)) == (200, 40)
    assert max(len(fact.split()) for fact in facts) <= 20
    hops = Counter(depth(evidence.edges) for evidence in asked)
    assert hops == {1: 18, 2: 14, 3: 8}
    assert all(evidence.answer and evidence.answer_kind for evidence in asked)


def test_faulty_rows_may_be_left_out_and_are_counted(file, caplog):
    assert len(read_evidence(file(row(), row(facts=[]), row(id="c")), strict=False)) == 2
    assert "1 questions left out, the first" in caplog.text


def test_rows_that_are_no_json_may_be_left_out_too(tmp_path, caplog):
    path = tmp_path / "torn.jsonl"
    lines = [json.dumps(row()), '{"id": "b", "quest', json.dumps({"facts": FACTS, "questions": 3})]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert [e.id for e in read_evidence(path, strict=False)] == ["a"]
    assert "2 questions left out, the first" in caplog.text
    with pytest.raises(DatasetError, match=r"torn.jsonl:2: "):
        read_evidence(path)


def test_a_file_without_a_question_is_refused(file):
    with pytest.raises(DatasetError, match="no question"):
        read_evidence(file(row(facts=[])), strict=False)


def test_two_questions_of_one_id_are_refused(file):
    with pytest.raises(DatasetError, match="two questions have the id 'a'"):
        read_evidence(file(row(), row()))


def test_both_sides_may_be_taken_where_before_and_after_disagree(file):
    links = [link(FACTS[0], after=[FACTS[1]]), link(FACTS[2])]
    (evidence,) = read_evidence(file(official(order_true_fact=links)), repair=True)
    assert evidence.edges == ((ROOT, 0), (ROOT, 2), (0, 1))
    links = [link(FACTS[0]), link(FACTS[1], before=[FACTS[0]])]
    (evidence,) = read_evidence(file(official(order_true_fact=links)), repair=True)
    assert evidence.edges == ((ROOT, 0), (0, 1))


def test_what_the_official_form_cannot_say_is_refused():
    edges = ((ROOT, 0), (ROOT, 1), (0, 1))
    with pytest.raises(GraphError, match="both the question and fact 0 lead to fact 1"):
        as_official(Evidence("q", "?", tuple(FACTS), edges))


def test_a_row_says_what_follows_from_its_graph():
    made = as_row(Evidence("q", "?", tuple(FACTS), ((ROOT, 0), (0, 1), (0, 2))))
    assert (made["structure"], made["depth"], made["reasoning_type"]) == ("MCMH", 2, "Other")


GOOD = Evidence("a", "Where?", tuple(FACTS), ((ROOT, 0), (0, 1)))


@pytest.mark.parametrize("write", [write_evidence, write_official])
@pytest.mark.parametrize(("changes", "said"), [
    ({"edges": ()}, "^b: no edges"), ({"edges": ((ROOT, 4),)}, "^b: edge"),
    ({"edges": ((ROOT, 0), (0, 1), (1, 0))}, "^b: .*circle"), ({"question": " "}, "^b: .*question"),
    ({"facts": (*FACTS, FACTS[0])}, "^b: two facts are one text"),
    ({"answer_kind": "song"}, "^b: answer_type"),
], ids=["none", "outside", "circle", "blank", "twice", "kind"])  # fmt: skip
def test_what_could_not_be_read_again_is_not_written(tmp_path, write, changes, said):
    with pytest.raises(DatasetError, match=said):
        write(tmp_path / "out.jsonl", [GOOD, replace(GOOD, id="b", **changes)])
    assert not any(tmp_path.iterdir())


def test_two_questions_of_one_id_are_not_written(tmp_path):
    with pytest.raises(DatasetError, match="two questions have the id 'a'"):
        write_evidence(tmp_path / "out.jsonl", [GOOD, GOOD])
