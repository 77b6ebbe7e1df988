"""Settings, refusals, folders of questions; the paper's preset runs to its end."""

import json
from functools import partial

import pytest

import workbench as wb
from tests.helpers.encoder_toys import save_bert
from tests.kopl.town import content, program
from workbench.errors import DatasetError, ModelError
from workbench.models.encoders import load_encoder
from workbench.papers.reasonchainqa import (
    answer_tables,
    answering,
    networks,
    paper,
    presets,
    programs,
    study,
    tables,
)
from workbench.readers.trained import small_reader
from workbench.retrieval.evidence_files import write_evidence, write_official
from workbench.retrieval.graphs import depth, successors
from workbench.retrievers.train import RELEASED
from workbench.runs.cache import cached
from workbench.worlds.chain_attributes import CHAINS
from workbench.worlds.chain_questions import TYPES


def test_what_the_paper_says_of_itself_and_nothing_else():
    assert paper.published("relations") == (78, "ReasonChainQA, abstract")
    assert paper.published("reasoning_types")[0] == len(paper.TYPES) == 12
    assert paper.published("deepest")[0] == paper.DEEPEST == max(paper.Settings.depths)
    assert paper.published("chain_em_forward") == (None, None)
    assert {*paper.TYPES} == {*TYPES}
    assert len({*CHAINS.relations, *CHAINS.attributes}) == 78


def test_presets_and_what_is_pinned():
    tiny, full = paper.settings("tiny"), paper.settings("tiny", "full")
    assert (tiny.types, tiny.depths, tiny.seeds) == (paper.CHAINS, (1, 2, 3, 4), 1)
    assert (full.types, full.depths, full.seeds) == (paper.TYPES, (1, 2, 3, 4, 5, 6, 7), 3)
    assert "ssg_released" in {*full.methods} - {*tiny.methods}
    assert paper.settings("small").database == 1000
    of_paper = paper.settings("paper")
    assert (of_paper.train, of_paper.dev, of_paper.test) == (10_000, 1000, 1000)
    assert (of_paper.reads, of_paper.learning_rate, of_paper.seeds) == ("tuned", 2e-5, 3)
    pinned = paper.settings("tiny", methods="bm25, greedy", depths="2,1", epochs=3, pool=-1, seed=4)
    assert (pinned.methods, pinned.depths) == (("bm25", "greedy"), (2, 1))
    assert (pinned.epochs, pinned.pool, pinned.seed) == (3, 16, 4)
    assert paper.settings("tiny", pool=0, chain_weight=0.0).pool == 0
    # As many are asked in other words as there are.
    assert [paper.settings("tiny", test=n).held_out for n in (30, 500)] == [30, 120]


@pytest.mark.parametrize(("given", "match"), [
    ({"methods": "bm25,bm26"}, "methods='bm26'"), ({"methods": "bm25,,dense"}, "between commas"),
    ({"methods": "dense,dense"}, "methods.*twice|'dense'"), ({"types": "Why"}, "types='Why'"),
    ({"depths": "0"}, "depths='0'"), ({"depths": "1,8"}, "depths='8'"),
    ({"depths": "1,one"}, "depths='one'"), ({"train": 0}, "train=0"), ({"dev": 0}, "dev=0"),
    ({"test": 10, "held_out": 11}, "held_out=11"), ({"pool": 9}, "pool=9"),
    ({"decoys": -2}, "decoys=-2"), ({"beam": 0}, "beam=0"), ({"database": 99}, "database=99"),
    ({"chain_weight": -0.5}, "chain_weight=-0.5"), ({"epochs": 0}, "epochs=0"),
    ({"chain_weight": float("nan")}, "chain_weight=nan"), ({"seeds": 0}, "seeds=0"),
    ({"seed": -3}, "seed=-3"), ({"answered": -2}, "answered=-2"), ({"size": "big"}, "size='big'"),
    ({"preset": "huge"}, "preset='huge'"),
    ({"preset": "small", "size": "full"}, "size='full' goes unheeded at preset=small"),
    ({"data_path": "here", "decoys": 1}, "decoys=1 goes unheeded beside data_path"),
    ({"data_path": "here", "depths": "1,2"}, "depths='1,2' goes unheeded beside data_path"),
], ids=str)  # fmt: skip
def test_what_cannot_be_is_refused_and_named_before_anything_is_run(given, match):
    given = {"preset": "tiny"} | given
    preset = given.pop("preset")
    with pytest.raises(ValueError, match=match):
        paper.settings(preset, **given)
    with pytest.raises(ValueError, match=match):
        paper.preflight(preset, given)


def test_models_and_files_are_looked_for_first(tmp_path):
    paper.preflight("tiny", {"seed": 1, "answered": 3})
    with pytest.raises(ModelError, match="model_id='lex' is no network"):
        paper.preflight("paper", {"model_id": "lex"})
    with pytest.raises(ValueError, match="tables_path="):
        paper.preflight("tiny", {"tables_path": str(tmp_path / "none.csv")})
    with pytest.raises(ValueError, match=r"data_path=.*: no file train\.jsonl or train\.json"):
        paper.preflight("tiny", {"data_path": str(tmp_path)})
    with pytest.raises(ModelError, match="seq2seq_id="):
        paper.preflight("tiny", {"seq2seq_id": str(tmp_path / "none")})
    with pytest.raises(ValueError, match="served_model='x' goes unheeded"):
        paper.preflight("tiny", {"served_model": "x"})
    (tmp_path / "own.jsonl").write_text('{"table": "T2", "row": "path", "column": "F1"}')
    with pytest.raises(DatasetError, match="row 0: 'value'; give table, row"):
        paper.preflight("tiny", {"tables_path": str(tmp_path / "own.jsonl")})
    assert presets.reader("tiny") is None
    assert [presets.reader_id(preset) for preset in ("tiny", "small", "paper")] == [
        "",
        "smollm2",
        "",
    ]


def test_questions_of_a_folder_are_read_as_chains(tmp_path, caplog):
    settings = paper.settings("tiny", train=24, dev=12, test=12, types=",".join(paper.TYPES))
    drawn = presets.questions(settings)
    assert {split: len(rows) for split, rows in drawn.items()} == {
        "train": 24, "dev": 12, "test": 12, "held_out": 12
    }  # fmt: skip
    assert {depth(q.edges) for q in drawn["train"]} == {1, 2, 3, 4}
    write_evidence(tmp_path / "train.jsonl", drawn["train"])
    write_official(tmp_path / "valid.json", drawn["dev"])
    with pytest.raises(ValueError, match=r"no file test\.jsonl or test\.json"):
        presets.questions(settings, str(tmp_path))
    write_evidence(tmp_path / "test.jsonl", drawn["test"] + drawn["train"][:1])
    read = presets.questions(settings, str(tmp_path))
    assert [*read] == ["train", "dev", "test"]
    assert read["train"] == drawn["train"]
    assert read["test"] == drawn["test"]
    branching = [q for q in read["dev"] if any(len(vs) > 1 for vs in successors(q.edges).values())]
    assert branching
    for q, before in zip(read["dev"], drawn["dev"], strict=True):
        assert q.edges == before.edges
        place = {-1: -1} | {fact: i for i, fact in enumerate(q.chain)}
        assert {*q.chain} == {*q.nodes}
        assert all(place[u] < place[v] for u, v in q.edges)
    (told,) = caplog.messages
    assert told.endswith("test.jsonl: the first 12 of 13 questions")
    caplog.clear()
    presets.questions(paper.settings("tiny"), str(tmp_path))
    assert "1 of 13 questions of test are in train" in caplog.text
    (tmp_path / "test.jsonl").write_text("{}")
    with pytest.raises(DatasetError, match="data_path="):
        presets.questions(settings, str(tmp_path))


@pytest.fixture
def small_models(tmp_path):
    """A random BERT and a random T5, saved as real ones are."""
    save_bert(tmp_path / "bert")
    drawn = presets.questions(paper.settings("tiny", train=4, dev=1, test=1, held_out=0))
    t5 = small_reader(drawn["train"], 0, 16).model
    t5.hf.save_pretrained(tmp_path / "t5")
    t5.tokenizer.save_pretrained(tmp_path / "t5")
    return str(tmp_path / "bert"), str(tmp_path / "t5")


def test_the_paper_preset_runs_to_its_end_on_random_weights(tmp_path, small_models, caplog):
    bert, t5 = small_models
    given = {"train": 8, "dev": 4, "test": 8, "held_out": 2, "epochs": 1, "seeds": 1, "decoys": 1}
    paper.preflight("paper", given | {"model_id": bert, "seq2seq_id": t5})
    settings = paper.settings("paper", **given)
    assert settings.methods == paper.MAIN
    questions = presets.questions(settings)
    encoder, reader = presets.encoder("paper", bert), presets.reader("paper", t5)
    fit = networks.fit_of(settings, encoder)
    assert (fit.d, fit.heads, fit.lr, fit.reads) == (32, 4, 2e-5, "tuned")
    assert {name: getattr(fit, name) for name in RELEASED} == RELEASED
    keep, folder = partial(cached, tmp_path / "cache"), tmp_path / "networks"
    ran = study.run(questions, settings, keep, encoder, folder)
    assert {*ran.predicted} >= {*paper.MAIN}
    assert {*ran.unseen} == {*paper.NETWORKS, *paper.ONE_QUERY}
    answers = answering.run(ran, questions["train"], keep, reader, folder)
    folders = sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir())
    assert folders == sorted(f"{name}-0" for name in {*paper.NETWORKS.values()})
    solved = programs.run(ran)
    assert solved["gold"] == [[1.0] * 8]
    metrics = (
        tables.data_metrics(ran.test) + tables.metrics(ran)
        + answer_tables.answer_metrics(ran, answers) + answer_tables.sufficient(ran, solved)
    )  # fmt: skip
    for rows in (tables.extraction(ran, {}), tables.by(ran, {}, "T4"), tables.by(ran, {}, "T5")):
        assert [row["method"] for row in rows] == [*ran.scores]
    assert len(answer_tables.read(ran, answers, {})) == len(answering.kinds(answers))
    wb.record(
        tmp_path / "run", paper="reasonchainqa", preset="paper", metrics=metrics, seed=0,
        device=ran.device, parameters=tables.parameters(ran),
    )  # fmt: skip
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert len(results["metrics"]) == len(metrics)
    again = study.run(questions, settings, keep, load_encoder(bert, device="cpu"), folder)
    assert again.predicted == ran.predicted


def test_kqa_pros_files_are_rebuilt(tmp_path, caplog):
    row = {"answer": "165.5 centimetre", "program": program("Find(Gro Holm) QueryAttr(height)")}
    rows = [row | {"question": f"How tall is Gro Holm? {i}"} for i in range(200)]
    val = [row | {"question": f"Of what height? {i}"} for i, row in enumerate(rows[:5])]
    (tmp_path / "kb.json").write_text(json.dumps(content()), encoding="utf-8")
    (tmp_path / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has KQA Pro's kb\.json, and no val\.json"):
        paper.preflight("tiny", {"data_path": str(tmp_path)})
    (tmp_path / "val.json").write_text(json.dumps(val), encoding="utf-8")
    given = {"data_path": str(tmp_path), "train": 30, "dev": 2, "test": 3}
    paper.preflight("tiny", given)
    read = presets.questions(paper.settings("tiny", **given), str(tmp_path))
    assert {split: len(asked) for split, asked in read.items()} == {
        "train": 30,
        "dev": 2,
        "test": 3,
    }
    asked = {split: {q.question for q in of} for split, of in read.items()}
    assert not asked["train"] & asked["dev"]
    assert all(q.chain == q.nodes and q.answer == "165.5 centimetre" for q in read["test"])
    assert caplog.text.count("left out none") == 3
