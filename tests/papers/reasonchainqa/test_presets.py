"""Questions of a user's own: chains by split, and KQA Pro's files, rebuilt as evidence."""

import json
import logging
from dataclasses import replace

import pytest

from tests.kopl.test_rebuild import ASKED, row
from tests.kopl.town import content
from workbench.papers.reasonchainqa import paper, presets, programs, study, tables
from workbench.retrieval.evidence_files import write_evidence
from workbench.retrieval.graphs import ROOT
from workbench.worlds.chains import questions


@pytest.fixture
def kqa_pro(tmp_path):
    rows = [row(question, text, answer) for question, (text, answer, *_) in ASKED.items()]
    wrong = row("Who wrote nothing?", "Find(Nobody) What()", "Nobody")
    train = [row(f"How tall is Gro Holm? #{i}", "Find(Gro Holm) QueryAttr(height)",
                 "165.5 centimetre") for i in range(60)]  # fmt: skip
    for name, of in {"kb": content(), "train": train, "val": [wrong, *rows]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(of), encoding="utf-8")
    return str(tmp_path)


def test_kqa_pro_is_rebuilt_and_what_falls_out_is_told(kqa_pro, caplog):
    settings = paper.settings("tiny", data_path=kqa_pro, train=20, dev=4, test=9, methods="bm25")
    with caplog.at_level(logging.WARNING):
        splits = presets.questions(settings, kqa_pro)
    assert [len(of) for of in splits.values()] == [20, 4, len(ASKED)]
    assert "KQA Pro test: 5 questions, left out 1 missing entity" in caplog.text
    assert {q.question for q in splits["train"]}.isdisjoint(q.question for q in splits["dev"])
    assert all(q.chain and len(q.facts) == 25 for of in splits.values() for q in of)
    ran = study.run(splits, settings, lambda name, key, compute: compute())
    assert ran.held_out == []
    assert {row["name"] for row in tables.metrics(ran)} >= {"chain_em_bm25", "chain_em_bm25_1"}
    assert programs.run(ran) == {}  # its sentences are not those of an invented world


def test_a_folder_of_kqa_pro_lacks_a_file(kqa_pro, tmp_path):
    (tmp_path / "val.json").unlink()
    with pytest.raises(ValueError, match=r"has KQA Pro's kb\.json, and no val\.json"):
        paper.preflight("tiny", {"data_path": kqa_pro})
    assert paper.settings("tiny", data_path=kqa_pro, pool=100).pool == 100
    assert paper.settings("tiny", data_path=kqa_pro).pool == 25
    with pytest.raises(ValueError, match="pool"):
        paper.settings("tiny", data_path=kqa_pro, pool=24)
    with pytest.raises(ValueError, match="decoys=1 goes unheeded"):
        paper.settings("tiny", data_path=kqa_pro, decoys=1)


def test_files_of_ones_own_are_read_as_chains(tmp_path):
    drawn = questions("train", 12, worlds=1, types=("What", "SelectBetween"))
    bare = [replace(q, chain=()) for q in drawn]
    write_evidence(tmp_path / "train.jsonl", drawn)
    write_evidence(tmp_path / "dev.jsonl", bare)
    (tmp_path / "test.json").write_text(json.dumps([
        {"id": "mine", "question": "Where?", "facts": ["b", "a"], "edges": [[ROOT, 1], [1, 0]]}
    ]))  # fmt: skip
    settings = paper.settings("tiny", data_path=str(tmp_path), dev=6)
    splits = presets.questions(settings, str(tmp_path))
    assert splits["train"] == drawn
    assert len(splits["dev"]) == 6
    assert all(sorted(q.chain) == [*q.nodes] for q in splits["dev"])
    assert splits["test"][0].chain == (1, 0)
    with pytest.raises(ValueError, match="pool=16 goes unheeded beside data_path"):
        paper.settings("tiny", data_path=str(tmp_path), pool=16)
