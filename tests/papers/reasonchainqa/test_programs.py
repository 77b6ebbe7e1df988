"""Gold programs over evidence: nothing says nothing, a gold fact is missed unless it is a rival."""

from dataclasses import replace

import pytest

from workbench.papers.reasonchainqa import answer_tables, paper, programs
from workbench.papers.reasonchainqa.study import Study
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.chains import chain_of
from workbench.worlds.chains import questions

ASKED = questions("test", 84, worlds=2, pool=16)


def test_no_fact_gives_no_answer_all_and_the_gold_ones_give_the_right_one():
    for q in ASKED:
        assert not answer_exact(q.answer, programs.answered(q, ()))
        assert programs.answered(q, chain_of(q)) == q.answer
        assert programs.answered(q, range(len(q.facts))) == q.answer
        assert programs.answered(q, chain_of(q)[::-1]) == q.answer


@pytest.mark.parametrize("kind", paper.TYPES)
def test_without_one_gold_fact_the_answer_is_not_right(kind):
    """But of the largest of several: that of a smaller one is not missed."""
    of_kind = [q for q in ASKED if q.program[-1]["function"] == kind]
    assert len(of_kind) == 7
    right = [
        bool(answer_exact(q.answer, programs.answered(q, chain[:j] + chain[j + 1 :])))
        for q in of_kind
        for chain in [chain_of(q)]
        for j in range(len(chain))
    ]
    assert any(right) == (kind == "SelectAmong")
    assert not all(right)


def test_a_study_is_solved_from_each_evidence_and_each_seed():
    test = ASKED[:12]
    gold, less = [chain_of(q) for q in test], [chain_of(q)[1:] for q in test]
    none = [()] * len(test)
    ran = Study(paper.settings("tiny"), "", "cpu", test, [], {"bm25": [none], "path": [gold, less]})
    solved = programs.run(ran)
    assert [*solved] == ["all", "none", "gold", "bm25", "path"]
    assert solved["none"] == solved["bm25"] == [[0.0] * 12]
    assert solved["all"] == solved["gold"] == [[1.0] * 12]
    assert solved["path"][0] == [1.0] * 12
    assert sum(solved["path"][1]) < 6
    rows = {row["name"]: row for row in answer_tables.sufficient(ran, solved)}
    assert [*rows] == [f"oracle_program_em_{name}" for name in solved]
    row = rows["oracle_program_em_path"]
    assert (row["n"], row["unit"]) == (24, "seeds and questions")
    assert row["value"] == pytest.approx((12 + sum(solved["path"][1])) / 24)
    shown = answer_tables.programs([*rows.values()])
    assert shown[0] == {"gold program over": "all", "right": shown[2]["right"]}
    assert shown[0]["right"].startswith("100.0")


@pytest.mark.parametrize("other", [
    {"program": ()}, {"program": ({"function": "Nowhere", "inputs": [], "dependencies": []},)},
    {"facts": ("Nothing that a world says.",) * 3, "chain": (0,), "edges": ((-1, 0),)},
    {"answer": "another"},
], ids=["none", "unknown", "other texts", "other answer"])  # fmt: skip
def test_programs_that_do_not_come_to_the_answer_are_left_out(other):
    ran = Study(paper.settings("tiny"), "", "cpu", [ASKED[0], replace(ASKED[1], **other)], [])
    assert programs.run(ran) == {}
