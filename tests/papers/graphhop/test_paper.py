"""Settings, published values of one's own, folders of questions: what is wrong is named."""

import json

import pytest

from workbench.errors import DatasetError, ModelError
from workbench.papers.graphhop import paper, presets
from workbench.papers.graphhop.study import fit_of
from workbench.retrieval.evidence_files import write_evidence, write_official


def test_table_1_is_whole():
    shares = [row["value"] for row in paper.PUBLISHED]
    assert sum(shares) == pytest.approx(1, abs=0.002)
    assert paper.published("share_scsh") == (0.195, "ReasonGraphQA, Table 1")
    assert paper.published("graph_em_bgr_mcmh") == (None, None)


def test_presets_and_what_is_pinned():
    tiny, full = paper.settings("tiny"), paper.settings("tiny", "full")
    assert (tiny.train, tiny.seeds, full.train, full.seeds) == (600, 1, 1500, 3)
    assert fit_of(tiny, "one_hop").epochs == fit_of(tiny, "backward").epochs == 5
    assert fit_of(full, "forward").epochs == 6
    assert fit_of(full, "one_hop").epochs == 8
    pinned = paper.settings("tiny", methods="bm25, bgr", epochs=2, pool=-1)
    assert pinned.methods == ("bm25", "bgr")
    assert (pinned.epochs, pinned.one_hop_epochs, pinned.pool) == (2, 2, 16)
    assert pinned.directions == ["forward", "backward"]
    assert paper.settings("tiny", methods="one_hop,bm25").directions == ["one_hop"]
    assert paper.settings("paper").train == 11703


@pytest.mark.parametrize(("rows", "said"), [
    ([{"table": "T2", "row": "bgr", "column": "F1"}], "row 0: 'value'; give table, row"),
    ([{"table": "T2", "row": "bgr", "column": "F1", "value": "high"}], "to float: 'high'; give"),
    ([{"table": "T2", "row": "bgr", "column": "F1", "value": "nan"}], "value=nan: it must be"),
])  # fmt: skip
def test_a_table_that_cannot_be_read_is_named(tmp_path, rows, said):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DatasetError, match=said):
        paper.reference(str(path))


def test_values_of_ones_own(tmp_path):
    path = tmp_path / "graphhop_tables.csv"
    path.write_text("table,row,column,value\nT2,bgr,F1,66.5\nT3,bgr,MCMH,12\n")
    assert paper.reference(str(path)) == {("T2", "bgr", "F1"): 66.5, ("T3", "bgr", "MCMH"): 12.0}
    assert paper.reference() == {}


def test_questions_of_a_folder_in_both_forms(tmp_path):
    settings = paper.settings("tiny", train=5, dev=4, test=6)
    drawn = presets.questions(settings)
    assert {split: len(rows) for split, rows in drawn.items()} == {"train": 5, "dev": 4, "test": 6}
    worlds = [{q.world for q in rows} for rows in drawn.values()]
    assert not worlds[0] & worlds[1] | worlds[0] & worlds[2] | worlds[1] & worlds[2]
    write_evidence(tmp_path / "train.jsonl", drawn["train"])
    write_official(tmp_path / "valid.json", drawn["dev"])
    with pytest.raises(ValueError, match=r"no file test\.jsonl or test\.json"):
        presets.questions(settings, str(tmp_path))
    write_evidence(tmp_path / "test.jsonl", drawn["test"] + presets.questions(settings)["train"])
    read = presets.questions(settings, str(tmp_path))
    assert read["train"] == drawn["train"]
    assert read["test"] == drawn["test"]
    assert [q.edges for q in read["dev"]] == [q.edges for q in drawn["dev"]]
    (tmp_path / "test.jsonl").write_text("{}")
    with pytest.raises(DatasetError, match="data_path="):
        presets.questions(settings, str(tmp_path))


def test_without_minilm_words_are_hashed(monkeypatch, caplog):
    def nowhere(*_, **__):
        raise ModelError("not at hand")

    monkeypatch.setattr(presets, "place_of", nowhere)
    monkeypatch.setattr(presets.torch, "set_num_threads", lambda _: None)
    assert presets.encoder("tiny").name == "lex"
    assert "hashed words" in caplog.text
    assert presets.encoder("paper", "lex").encode(["a gate"]).shape == (1, 384)
