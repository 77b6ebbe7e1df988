"""What presets and settings mean, and what a run refuses before it starts."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers.pas import INVENTORY, TEST, respondents
from workbench.data.respondents import fewer_items
from workbench.errors import DatasetError, RunError
from workbench.papers.pas import paper, presets
from workbench.papers.pas.paper import BASE, Settings, preflight


def test_settings_of_a_preset():
    assert presets.settings("paper") == Settings()
    for preset in ("tiny", "small"):
        assert presets.settings(preset) == getattr(Settings(), preset)()
    official = presets.settings("paper", official=True)
    assert (official.orders, official.wording, official.decode, official.selection) == (
        ("forward",), "paper", "written", "paper",
    )  # fmt: skip
    chosen = presets.settings(
        "tiny", alphas=" 4, 1", heads=3, folds=-1, direction="", wording="paper"
    )
    assert chosen == replace(Settings().tiny(), alphas=(0.0, 1.0, 4.0), heads=3, wording="paper")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alphas": "1,two"}, "alphas='1,two': 'two' is no finite number from 0 on; give numbers"),
        ({"alphas": "1,,2"}, "alphas='1,,2': nothing stands .* between commas"),
        ({"alphas": "1,-2"}, "'-2' is no finite number from 0 on"),
        ({"alphas": "nan"}, "'nan' is no finite number"),
        ({"alphas": "1,inf"}, "'inf' is no finite number"),
        ({"alphas": "4,1,4.0"}, "alphas: 4.0 is there twice"),
        ({"alphas": [1, 2]}, "give a text, separated by commas"),
        ({"heads": 0}, "heads=0: it must be a whole number at least 1"),
        ({"heads": -2}, "heads=-2"),
        ({"heads": 3.0}, "heads=3.0"),
        ({"folds": 6}, "folds=6: it must be a whole number at least 1 and at most 5"),
        ({"direction": "lda"}, "direction='lda'"),
        ({"selection": "best"}, "selection='best'"),
        ({"modes": "fewshot+pas"}, r"modes=fewshot\+pas: they must hold pas"),
        ({"modes": "pas,p3"}, "modes='p3'; use one of pas"),
        ({"modes": "pas", "portrait_tokens": 9}, "nobody is described without p2"),
        ({"controls": 2}, "controls=2"),
        ({"controls": True}, "controls=True"),
        ({"items": -2}, "items=-2"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        presets.settings("tiny", **given)


def test_each_seed_draws_from_a_block_of_its_own():
    block = presets.BLOCKS["tiny"]
    everybody = respondents(4 * block)
    drawn = presets.draw(everybody, "tiny", 0, range(4))
    assert list(drawn) == [0, 1, 2, 3]
    assert [len(r) for r in drawn.values()] == [10] * 4
    ids = [i for r in drawn.values() for i in r.ids]
    assert len(set(ids)) == len(ids)
    for seed, some in drawn.items():
        places = [int(i[1:]) for i in some.ids]
        assert {p // block for p in places} == {seed}
        assert np.array_equal(some.values, everybody.values[places])
    assert presets.draw(everybody, "tiny", 0, [2])[2].ids == drawn[2].ids
    assert len(presets.draw(everybody, "tiny", 5, [0])[0]) == 5


def test_three_seeds_of_small_draw_nobody_twice():
    everybody = paper.people("small", model_id="survey")
    assert (len(everybody), len(everybody.inventory.items)) == (24, 30)
    for count, drawn in ((0, 4), (8, 8)):
        ids = [r.ids for r in presets.draw(everybody, "small", count, [0, 1, 2]).values()]
        assert [len(names) for names in ids] == [drawn] * 3
        assert len({name for names in ids for name in names}) == 3 * drawn
    assert len(presets.draw(everybody, "small", 24, [1])[1]) == 24


@pytest.mark.parametrize(("preset", "count"), [("paper", 5), ("tiny", 40)])
def test_a_stratified_draw_takes_one_of_every_part(preset, count):
    everybody = respondents(3 * presets.BLOCKS["tiny"], missing=0.05)
    far = []
    for row in everybody.values:
        error = 0.0
        for trait in INVENTORY.traits:
            own = [i for i in TEST if INVENTORY.items[i].trait == trait and row[i]]
            error += np.mean([abs(int(row[i]) - 3) for i in own])
        far.append(error)
    parts = np.array_split(np.argsort(far, kind="stable"), count)
    for seed, some in presets.draw(everybody, preset, count, [0, 1]).items():
        places = [int(i[1:]) for i in some.ids]
        of_part = [next(n for n, part in enumerate(parts) if p in part) for p in places]
        assert sorted(of_part) == list(range(count)), seed
        # DPO tunes the first: they are not those nearest to the middle.
        assert of_part != sorted(of_part)
    two = presets.draw(everybody, preset, count, [0, 1])
    assert two[0].ids != two[1].ids
    assert len(presets.draw(everybody, "paper", 96, [0])[0]) == len(everybody)
    with pytest.raises(ValueError, match=r"subjects=500: .* at most 96"):
        presets.draw(everybody, "paper", 500, [0])
    assert len(presets.draw(everybody, "paper", 0, [0])[0]) == 20


def test_people_who_cannot_be_read(tmp_path):
    with pytest.raises(RunError, match="papi_path=FOLDER"):
        paper.people("paper", "", "", "", "")
    with pytest.raises(ValueError, match="is no file or folder"):
        paper.people("paper", str(tmp_path / "absent"), "", "", "")
    with pytest.raises(RunError, match=r"papi_path=.* is no file"):
        paper.people("tiny", str(tmp_path), "", "", "")
    mine = tmp_path / "mine.csv"
    rows = [f"{i.id},{i.text},{i.trait},{i.facet},{i.sign},{i.split}" for i in INVENTORY.items]
    mine.write_text("id,text,trait,facet,sign,split\n" + "\n".join(rows), encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder / "mpi_300.csv", tmp_path / "MINE.CSV"):
        path.write_bytes(mine.read_bytes())
    for place in (mine, folder, path):
        for preset in ("tiny", "paper"):
            with pytest.raises(DatasetError, match=r"papi_path=.* no answers.* -p answers_path="):
                paper.people(preset, str(place), model_id="survey")
    given = tmp_path / "answers.json"
    named = [
        {"id": n, **{i.id: int(v) for i, v in zip(INVENTORY.items, row, strict=True)}}
        for n, row in enumerate(respondents(30).values)
    ]
    given.write_text(json.dumps(named), encoding="utf-8")
    for preset in ("tiny", "paper"):
        read = paper.people(preset, str(mine), str(given), model_id="survey")
        assert (read.keying.verdict, read.targets) == ("raw", "raw")
        assert read.values.tolist() == respondents(30).values.tolist()
    with pytest.raises(DatasetError, match="contradicts the data"):
        paper.people("tiny", str(mine), str(given), "", "reverse-scored")
    with pytest.raises(DatasetError, match="targets='both'"):
        paper.people("tiny", str(mine), str(given), "both", "")


def test_models_of_a_preset(monkeypatch):
    tokenizer = SimpleNamespace(chat_template="own")
    monkeypatch.setattr(presets, "load", lambda n: SimpleNamespace(name=n, tokenizer=tokenizer))
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert presets.model("paper", "").name == BASE
    assert presets.model("small", "").name == "smollm2"
    assert presets.model("tiny", "some/model").name == "some/model"
    assert asked == []
    assert presets.model("tiny", "").name == "survey"
    assert asked == [1]
    assert tokenizer.chat_template == "own"


def test_alphas_hold_zero_and_one_reply_has_one_order():
    with pytest.raises(ValueError, match="must hold 0"):
        Settings(alphas=(1.0, 2.0))
    with pytest.raises(ValueError, match="give one option order"):
        Settings(decode="written")
    with pytest.raises(ValueError, match="decode='spoken'"):
        Settings(decode="spoken")


@pytest.mark.parametrize(
    ("preset", "given", "message"),
    [
        ("tiny", {"alphas": "-1"}, "'-1' is no finite number"),
        ("tiny", {"alphas": "one"}, "give numbers separated by commas"),
        ("tiny", {"papi_path": "nowhere"}, "papi_path='nowhere' is no file or folder"),
        ("paper", {}, "papi_path=FOLDER"),
        ("tiny", {"items": 9}, "items=9: .* at most 8"),
        ("tiny", {"items": 1}, "items=1: no usable subject; the first: . train answers"),
        ("tiny", {"modes": "p2+pas"}, "they must hold pas"),
        ("tiny", {"controls": 2}, "controls=2"),
        ("tiny", {"portrait_tokens": 0}, "portrait_tokens=0"),
    ],
)
def test_preflight_names_what_cannot_succeed(preset, given, message):
    with pytest.raises((RunError, ValueError, DatasetError), match=message):
        preflight(preset, given)


def test_preflight_lets_a_tiny_run_begin():
    preflight("tiny", {"alphas": "0,1", "papi_path": ""})


@pytest.mark.parametrize("targets", ["raw", "released"])
def test_fewer_statements_are_as_mixed_as_all(targets):
    everybody = replace(respondents(40), targets=targets)
    everybody.values[3] = np.where(everybody.values[3] > 3, 3, everybody.values[3])
    everybody.values[3, ::3] = 3
    fewer = fewer_items(everybody, 4)
    for split in ("train", "test"):
        for trait in INVENTORY.traits:
            of_trait = [i for i in fewer.inventory.items if (i.trait, i.split) == (trait, split)]
            assert sorted(i.sign for i in of_trait) == [-1, -1, 1, 1]
            assert len({i.facet for i in of_trait}) > 1
    column = {item.id: n for n, item in enumerate(INVENTORY.items)}
    for name, row in zip(fewer.ids, fewer.values, strict=True):
        answered = everybody.values[everybody.ids.index(name)]
        assert row.tolist() == [answered[column[i.id]] for i in fewer.inventory.items]
    used = (~np.isin(fewer.values[:, fewer.inventory.split("train")], (0, 3))).sum(1)
    assert used.min() >= 10
    assert set(fewer.ids) | {name for name, _ in fewer.dropped} == set(everybody.ids)
    assert "p3" in dict(fewer.dropped)
    most = fewer_items(respondents(4), 8)
    assert most.values.tolist() == respondents(4).values.tolist()
