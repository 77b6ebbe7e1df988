"""Settings, published values of one's own, folders of questions: what is wrong is named."""

import json
from dataclasses import replace
from functools import partial

import pytest

from tests.helpers.encoder_toys import save_bert
from workbench.errors import DatasetError, ModelError
from workbench.papers import evidence_models
from workbench.papers.graphhop import paper, presets, study, tables
from workbench.papers.graphhop.study import fit_of
from workbench.retrieval.evidence_files import write_evidence, write_official
from workbench.retrievers.train import Fit
from workbench.runs.cache import cached


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
    assert not {*paper.ABLATIONS} & {*tiny.methods}
    assert full.methods == paper.settings("tiny", ablations=True).methods == paper.METHODS
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


def test_at_tiny_words_are_hashed(monkeypatch):
    monkeypatch.setattr(evidence_models.torch, "set_num_threads", lambda _: None)
    assert presets.encoder("tiny").name == "lex"
    assert presets.encoder("small", "lex").encode(["a gate"]).shape == (1, 384)
    with pytest.raises(ModelError, match="no network that could be tuned"):
        presets.encoder("paper", "lex")


@pytest.mark.parametrize("share", [False, True], ids=["decoupled", "coupled"])
def test_the_paper_preset_runs_to_its_end_on_a_small_bert(tmp_path, caplog, share):
    few = {"train": 8, "dev": 4, "test": 4, "epochs": 1, "seeds": 1, "share": share}
    settings = paper.settings("paper", **few)
    assert (settings.batch, settings.learning_rate, settings.share) == (8, 1e-5, share)
    encoder = presets.encoder("paper", str(save_bert(tmp_path / "bert")))
    fit = fit_of(settings, "backward", encoder)
    assert fit == Fit(d=32, heads=4, epochs=1, batch=8, lr=1e-5, weight_decay=1e-4, clip=0,
                      positive_weight=1, dropout=0.1, schedule="cosine", reads="tuned")  # fmt: skip
    keep = partial(cached, tmp_path / "cache")
    args = (presets.questions(settings), settings, keep, encoder, tmp_path / "networks")
    ran = study.run(*args)
    assert set(ran.predicted) >= {*paper.MAIN}
    assert "texts are cut to 30 tokens" not in caplog.text  # sentences are short
    seeds = {"forward": 42, "backward": 42 if share else 2, "one_hop": 0,
             paper.OFFICIAL_LABELS: 42}  # fmt: skip
    kept = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "networks").iterdir()}
    assert kept == {f"{name}-{seed}" for name, seed in seeds.items()}
    again = study.run(*args)
    assert again.predicted == ran.predicted
    assert len(tables.metrics(ran)) > 50
    with pytest.raises(ValueError, match="tuned along with a sentence encoder"):
        study.run(*args[:3])


def test_questions_that_another_split_has_are_told(tmp_path, caplog):
    drawn = presets.questions(paper.settings("tiny", train=5, dev=4, test=6))
    other = [replace(q, id=f"again-{q.id}", facts=q.facts[::-1],
                     edges=tuple(sorted((u if u < 0 else len(q.facts) - 1 - u,
                                         len(q.facts) - 1 - v) for u, v in q.edges)))
             for q in drawn["train"][:2]]  # fmt: skip
    alike = replace(drawn["train"][2], id="c", edges=((-1, 0), (-1, 1), (-1, 2), (-1, 3)))
    evidence_models.warn_of_shared(drawn)
    evidence_models.warn_of_shared(drawn | {"dev": [alike]})  # the same words, of other facts
    assert not caplog.text
    for split, rows in (drawn | {"test": [*drawn["test"], *other]}).items():
        write_evidence(tmp_path / f"{split}.jsonl", rows)
    presets.questions(paper.settings("tiny"), str(tmp_path))
    (record,) = caplog.records
    assert "2 of 8 questions of test are in train" in record.getMessage()
