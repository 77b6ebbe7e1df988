"""What a trained reader answers from each evidence."""

from dataclasses import replace

from workbench.papers.graphhop import answering, paper, presets, study, tables
from workbench.retrieval.graphs import ROOT, Evidence

ASKED = Evidence(
    "q", "Where was Ada born?", ("Ada was born in Bel.", "Bel is in Mara.", "No.", "Yes.", "So."),
    ((ROOT, 0),), answer="Bel",
)  # fmt: skip


def scored_by_hand():
    """Three questions, the second without an answer, and graphs that tell method and seed."""
    asked = [
        replace(ASKED, id=str(i), answer=answer) for i, answer in enumerate(["Bel", "", "Mara"])
    ]

    def graphs(first):
        return [[(ROOT, first)], [(ROOT, first + 1)], [(ROOT, first), (ROOT, first + 2)]]

    predicted = {"bm25": [graphs(0)], "forward": [graphs(1), graphs(2)], "one_hop": [graphs(3)] * 2}
    settings = paper.settings("tiny", seeds=2)
    return study.Study(settings, "lex", "cpu", asked, predicted, {}, {}, {})


def test_each_seed_reads_what_the_best_method_retrieved_for_questions_that_are_asked():
    ran = scored_by_hand()
    for number, first in enumerate([1, 2]):
        evidence = answering.evidence_of(ran, [0, 2], number)
        assert evidence["retrieved_evidence"] == [
            [(ROOT, first)], [(ROOT, first), (ROOT, first + 2)]
        ]  # fmt: skip
        assert evidence["gold_evidence"] == [[*ASKED.edges]] * 2
    keys = []
    for other in (ran, replace(ran, predicted={"forward": [[[(ROOT, 0)]] * 3] * 2})):
        answering.run(other, [ASKED], lambda name, key, compute: keys.append((name, key)) or {})
    assert [name for name, _ in keys] == ["reader-0", "reader-1"] * 2
    assert len({str(key) for _, key in keys}) == 4


def test_answers_are_right_by_the_question_they_are_of():
    ran, answers = scored_by_hand(), {"gold_evidence": [["Bel", "Bel"], ["Mara", "Mara"]]}
    assert answering.right(ran, answers, lambda q: True) == {
        "gold_evidence": ([[1.0, 0.0], [0.0, 1.0]], [["0", "2"]] * 2)
    }
    assert answering.right(ran, answers, lambda q: q.answer == "Mara") == {
        "gold_evidence": ([[0.0], [1.0]], [["2"]] * 2)
    }


def test_a_study_is_read_from_each_evidence_and_kept():
    settings = paper.settings("tiny", train=24, dev=8, test=12, methods="bm25")
    asked, calls = presets.questions(settings), []

    def keep(name, key, compute):
        calls.append(name)
        return compute()

    ran = study.run(asked, settings, keep)
    answers = answering.run(ran, asked["train"][:8], keep)
    assert [name for name in calls if name.startswith("reader")] == ["reader-0"]
    assert [*answers] == [*answering.EVIDENCE]
    names = [row["name"] for row in tables.answer_metrics(ran, answers)]
    assert {f"answer_em_{name}" for name in answering.EVIDENCE} <= {*names}
    rows = tables.read(ran, answers, {("T5", "gold evidence", "all"): 61.0})
    assert [row["paper: all"] for row in rows] == [None, None, None, None, 61.0]
    assert rows[0]["evidence"] == "no evidence"
    bare = [Evidence(q.id, q.question, q.facts, q.edges) for q in asked["train"]]
    assert answering.run(ran, bare, keep) == {}
