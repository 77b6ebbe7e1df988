"""A language model as the reader: what it is asked, what of its reply counts, nothing twice."""

from types import SimpleNamespace

import pytest

from workbench.papers.graphhop import answering, completing, paper, presets, study, tables
from workbench.readers import prompts

SETTINGS = paper.settings("tiny", train=12, dev=4, test=12, pool=10, methods="bm25")


@pytest.fixture(scope="module")
def ran():
    return study.run(presets.questions(SETTINGS), SETTINGS, lambda name, key, compute: compute())


def test_what_is_asked(ran):
    question = next(q for q in ran.test if q.structure == "SCMH")
    (message,) = prompts.prompt(question, question.edges)
    facts, asked, how = message["content"].split("\n\n")[0], *message["content"].splitlines()[-2:]
    assert facts.splitlines()[0] == "Facts:"
    assert [line.split(" ", 1)[0] for line in facts.splitlines()[1:]][:2] == ["f1", "f2"]
    assert asked == f"Question: {question.question}"
    assert prompts.prompt(question, [], chat=False) == f"{asked}\n{how}\nAnswer:"


def test_every_evidence_is_asked_and_the_first_line_counts(ran, monkeypatch):
    asked = []

    def complete(model, requests, store):
        asked.extend(requests)
        return [SimpleNamespace(texts=["\n " + q.answer.upper() + ".\nIndeed"])
                for _ in answering.EVIDENCE for q in ran.test]  # fmt: skip

    monkeypatch.setattr(prompts, "complete", complete)
    replies = completing.run(ran, "http://nowhere/v1")
    assert [request.stage for request in asked] == [n for n in answering.EVIDENCE for _ in ran.test]
    assert {row["value"] for row in tables.answer_metrics(ran, replies, "completer_em")} == {1}
    monkeypatch.setattr(completing, "COUNT", 5)
    monkeypatch.setattr(prompts, "complete", lambda model, requests, store: [
        SimpleNamespace(texts=[""]) for _ in requests])  # fmt: skip
    few = tables.answer_metrics(ran, completing.run(ran, "http://nowhere/v1"), "completer_em")
    assert {(row["value"], row["n"]) for row in few if row["name"].endswith("_evidence")} == {
        (0, 5)
    }
    assert prompts.first_line(" \n\t") == ""


def test_a_real_model_answers_and_nothing_is_asked_twice(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(completing, "COUNT", 2)
    model, chat = presets.completer("tiny")
    replies = completing.run(ran, model, chat=chat, store=tmp_path / "samples")
    assert {name: len(rows[0]) for name, rows in replies.items()} == dict.fromkeys(
        answering.EVIDENCE, 2
    )
    monkeypatch.setattr(type(model), "draw", None)  # nothing is left to be drawn
    assert completing.run(ran, model, chat=chat, store=tmp_path / "samples") == replies
    assert presets.completer("") == (None, True)
    with pytest.raises(ValueError, match="served_model='a' goes unheeded"):
        presets.completer("", "a")
