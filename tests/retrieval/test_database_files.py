"""Databases of sentences as WikiNLDB has them: what a question sees, and what is wrong by line."""

import json

import pytest

from workbench.errors import DatasetError
from workbench.retrieval.database_files import read_nldb
from workbench.retrieval.graphs import ROOT

FACTS = ["Ada was born in Rome.", "Bo was born in Oslo.", "Rome lies in Italy.", "Ada is tall."]


def query(**changes):
    made = {"query": "Where?", "height": 2, "facts": [[0, 2]], "answer": "Italy",
            "relation": "P19", "type": "argmax"}  # fmt: skip
    return made | changes


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "nldb.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write


def database(*queries, facts=FACTS):
    return {"facts": facts, "queries": list(queries)}


def test_a_question_sees_the_facts_up_to_its_height(file):
    first = database(query(), query(height=3, type="bool", answer="TRUE"))
    third = database(query(facts=[[1]], height=1, type="count", answer=1))
    asked = read_nldb(file(first, "", third))
    assert [q.id for q in asked] == ["1-0", "1-1", "3-0"]
    assert [len(q.facts) for q in asked] == [3, 4, 2]
    assert [q.edges for q in asked] == [((ROOT, 0), (ROOT, 2))] * 2 + [((ROOT, 1),)]
    assert [q.answer_kind for q in asked] == ["", "bool", "count"]
    assert [q.answer for q in asked] == ["Italy", "TRUE", "1"]
    assert [q.world for q in asked] == ["line 1", "line 1", "line 3"]


def test_all_support_sets_are_gold_and_none_is_no_question(file, caplog):
    several = query(facts=[[2], [0, 1], [0]], answer=["Italy", "Oslo"])
    (asked,) = read_nldb(file(database(query(facts=[], answer=None), query(facts=[[]]), several)))
    assert asked.edges == ((ROOT, 0), (ROOT, 1), (ROOT, 2))
    assert asked.answer == "Italy, Oslo"
    assert "2 queries without a supporting fact are left out" in caplog.text
    assert "1 queries have several support sets" in caplog.text


def test_a_fact_that_is_there_twice_is_the_first_and_counted(file, caplog):
    twice = [FACTS[0], FACTS[1], FACTS[1], FACTS[0]]
    asked = read_nldb(file(database(query(facts=[[1, 2]]), query(height=3), facts=twice)))
    assert [q.facts for q in asked] == [(FACTS[0], FACTS[1])] * 2
    assert asked[0].edges == ((ROOT, 1),)
    assert "3 facts are in their pool twice; the first of each stays" in caplog.text
    caplog.clear()
    read_nldb(file(database(query(height=1, facts=[[1]]), facts=twice)))
    assert not caplog.text


FAULTS = [
    ('{"facts": [', r"nldb.jsonl:2: "),
    ("[1]", r"nldb.jsonl:2: .*expected"),
    ({"facts": FACTS}, "nldb.jsonl:2: .*expected"),
    ({"facts": FACTS, "queries": 3}, "nldb.jsonl:2: .*expected"),
    (database(3), "nldb.jsonl:2 query 0: 3 is no object"),
    (database(query(), query(facts=[[0, 3]])), "nldb.jsonl:2 query 1: fact=3: .* at most 2"),
    (database(query(facts=[[-1]])), "query 0: fact=-1"),
    (database(query(facts=[["0"]])), "query 0: fact='0'"),
    (database(query(facts=[0])), "query 0: facts .* no lists of places"),
    (database(query(height=4)), "query 0: height=4: .* at most 3"),
    (database(query(height=None)), "query 0: height=None"),
    (database(query(query=" ")), "query 0: field 'question'"),
    (database(query(answer=True)), "query 0: field 'answer' is True"),
    (database(query(), facts=["a", 3, "b"]), "query 0: field 'facts': entry 1 is 3"),
]


@pytest.mark.parametrize(("line", "message"), FAULTS)
def test_faults_are_named_with_their_line_and_may_be_passed_over(file, line, message, caplog):
    path = file(database(query()), line, database(query()))
    with pytest.raises(DatasetError, match=message):
        read_nldb(path)
    left = [q.id for q in read_nldb(path, strict=False) if q.id != "2-0"]
    assert left == ["1-0", "3-0"]
    assert "1 questions left out, the first" in caplog.text


def test_no_file_and_no_question(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_nldb(tmp_path / "none.jsonl")
    with pytest.raises(DatasetError, match="no question"):
        read_nldb(file(database(query(facts=[]))))
