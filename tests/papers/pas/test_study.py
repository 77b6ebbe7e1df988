"""PAS's study on a random model, its tables on numbers made by hand, and what presets mean."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.helpers.pas import INVENTORY, TEST, TRAIN, build, respondents
from workbench.data.inventories import Inventory, Item
from workbench.data.respondents import Keying, Respondents
from workbench.errors import DatasetError, RunError
from workbench.papers.pas import answer, figures, presets, study, tables
from workbench.papers.pas.contrast import contrast_answers
from workbench.papers.pas.paper import BASE, PUBLISHED, Settings
from workbench.papers.pas.personas import personas, probes, stability
from workbench.papers.pas.study import Study, shuffled
from workbench.runs.cache import cached

KEYING = Keying("raw", 0.0, 0.0, 0, stated=True)
FEW = Settings(
    heads=4, alphas=(0.0, 3.0), orders=("forward",), portrait_tokens=4, dpo_subjects=1, dpo_steps=1
)


@pytest.fixture(scope="module")
def model():
    one = build()
    before = one.fingerprint()
    yield one
    assert one.fingerprint() == before


# ---- the study


class Counting:
    """`cached`, and the names of what was really computed."""

    def __init__(self, folder):
        self.keep, self.computed = partial(cached, folder), []

    def __call__(self, name, key, compute):
        def counted():
            self.computed.append(name)
            return compute()

        return self.keep(name, key, counted)


def test_a_study_goes_on_where_it_stopped(model, tmp_path):
    everybody = respondents(2)
    first, again = Counting(tmp_path), Counting(tmp_path)
    a = study.run(model, everybody, FEW, 0, first)
    conditions = ["pas", "fewshot+pas", "p2+pas", "pas centered", "pas weighted", "pas shuffled"]
    assert list(a.searched) == conditions
    names = [f"{c.replace(' ', '_')}-0-p{s}" for c in conditions for s in range(2)]
    assert first.computed == [*names, "dpo-0-p0"]
    for condition, searched in a.searched.items():
        assert [s["id"] for s in searched] == ["p0", "p1"]
        assert {s["mode"] for s in searched} == {condition.split()[0]}
    plain = a.searched["pas"]
    for control in ("pas weighted", "pas shuffled"):
        assert [s["share"] for s in plain] != [s["share"] for s in a.searched[control]]
    assert [s["answers"] for s in plain] != [s["answers"] for s in a.searched["pas centered"]]
    ((tuned),) = a.tuned
    assert (tuned["id"], tuned["steps"], len(tuned["losses"])) == ("p0", 1, 1)
    assert len(tuned["answers"]) == len(TEST)
    used = int((~np.isin(everybody.values[0, TRAIN], (0, 3))).sum())
    assert tuned["pairs"] == used
    json.dumps([a.searched, a.tuned])
    b = study.run(model, everybody, FEW, 0, again)
    assert again.computed == []
    assert (b.searched, b.tuned) == (a.searched, a.tuned)

    other = Counting(tmp_path)
    study.run(model, everybody, FEW, 1, other, modes=["pas"], controls=False)
    assert other.computed == ["pas-1-p0", "pas-1-p1", "dpo-1-p0"]
    values = everybody.values.copy()
    values[1, TRAIN[0]] = 6 - values[1, TRAIN[0]] if values[1, TRAIN[0]] != 3 else 5
    one = Counting(tmp_path)
    changed = replace(everybody, values=values)
    study.run(model, changed, FEW, 0, one, modes=["pas"], controls=False)
    assert one.computed == ["pas-0-p1"]
    weaker = Counting(tmp_path)
    study.run(
        model, everybody, replace(FEW, alphas=(0.0, 1.0)), 0, weaker, modes=["pas"], controls=False
    )
    assert weaker.computed == ["pas-0-p0", "pas-0-p1", "dpo-0-p0"]
    # The same answers to other statements are other results.
    items = list(INVENTORY.items)
    items[TEST[0]] = replace(items[TEST[0]], text=items[TEST[1]].text + " too")
    reworded = replace(everybody, inventory=Inventory("other", tuple(items)))
    text = Counting(tmp_path)
    study.run(model, reworded, FEW, 0, text, ["pas"], controls=False)
    assert text.computed == ["pas-0-p0", "pas-0-p1", "dpo-0-p0"]


def test_somebody_on_one_side_costs_the_centered_control_alone(model, caplog):
    everybody = respondents(2)
    everybody.values[1] = np.where(everybody.values[1] < 4, 3, everybody.values[1])
    everybody.values[1, TRAIN[::2]] = 5
    settings = replace(FEW, dpo_subjects=0)
    found = study.run(model, everybody, settings, 0, lambda _, __, f: f(), ["pas"])
    assert list(found.searched) == ["pas", "pas weighted", "pas shuffled"]
    assert "pas centered is left out: all usable answers of subject 1" in caplog.text
    with pytest.raises(DatasetError, match="subject 1"):
        study.run(
            model, everybody, replace(settings, direction="centered"), 0,
            lambda _, __, f: f(), ["pas"], controls=False,
        )  # fmt: skip


def test_the_bill_is_what_a_run_scores(model, monkeypatch):
    everybody = respondents(2)
    settings = replace(FEW, orders=("forward", "reversed"), dpo_subjects=0, folds=2)
    modes = ["pas", "fewshot+pas"]
    bill = study.cost(model, everybody, settings, modes)
    count = 0
    real = answer.option_logprobs

    def counted(model, chats, letters):
        nonlocal count
        count += len(chats)
        return real(model, chats, letters)

    monkeypatch.setattr(answer, "option_logprobs", counted)
    study.run(model, everybody, settings, 0, lambda _, __, f: f(), modes, controls=False)
    extraction = 2 * len(TRAIN) * 2
    assert bill["forwards"] == count + extraction
    assert bill["released"] == 2 * 2 * len(TEST)
    assert bill["seconds"] > 0


def test_geometry(model):
    everybody = respondents(3)
    contrast = contrast_answers(model, INVENTORY, orders=FEW.orders)
    rows = study.geometry(contrast, everybody, FEW, splits=3)
    train = everybody.values[:, TRAIN]
    found = personas(contrast, train)
    for s, row in enumerate(rows):
        used = [v for v in train[s].tolist() if v not in (0, 3)]
        assert row["subject"] == f"p{s}"
        assert row["lean"] == pytest.approx(np.mean(np.sign(np.array(used) - 3)), abs=1e-6)
        fitted = [probes(contrast, train[s], seed) for seed in range(3)]
        top = fitted[0].top(4)
        assert row["share"] == pytest.approx(np.mean([found.share[s, x, h] for x, h in top]))
        assert row["jaccard"] == pytest.approx(stability(fitted, 4, "validation"))
    assert min(r["jaccard"] for r in rows) < 1
    cosine, *labels = figures.cosines(contrast, everybody, FEW, count=2)
    assert labels == [["p0", "p1"]] * 2
    a, b = found.raw[:2].flatten(1)
    assert cosine[0][1] == pytest.approx((a @ b / (a.norm() * b.norm())).item(), abs=1e-5)
    assert cosine[0][0] == pytest.approx(1, abs=1e-5)


# ---- tables, on two people who answer four test statements

ITEMS = [
    ("A1", "A", 1, "train"), ("A2", "A", -1, "train"), ("A3", "A", 1, "test"),
    ("A4", "A", -1, "test"), ("C1", "C", 1, "train"), ("C2", "C", -1, "train"),
    ("C3", "C", 1, "test"), ("C4", "C", -1, "test"),
]  # fmt: skip
SMALL = Inventory("small", tuple(Item(i, f"say {i}", t, "f", s, p) for i, t, s, p in ITEMS))
OWN = np.array([[5, 1, 5, 1, 4, 2, 4, 2], [1, 5, 1, 5, 3, 3, 3, 0]], np.int8)


def people(values=OWN, ids=("x", "y")):
    return Respondents(SMALL, np.asarray(values, np.int8), tuple(ids), "raw", KEYING)


def subject(name, answers, validation, test, share=0.5):
    """One search on the alphas 0, 1, 2; errors as worked out in the comments below."""
    return {
        "id": name, "mode": "pas", "alphas": [0.0, 1.0, 2.0], "answers": answers,
        "validation": validation, "test": test, "heads": [(0, 0)], "share": share, "prompts": 12,
        "seconds_fit": 1.0, "seconds_search": 2.0, "seconds_test": 7.0,
    }  # fmt: skip


# x answers 5 1 | 4 2. In the middle: A 2, C 1. Alpha 1: A 0, C 1. Alpha 2: 0.
# y answers 1 5 | 3 -. In the middle: A 2, C 0. Alpha 1: A 1, C 0. Alpha 2: A 2, C 2.
X = subject("x", [[3] * 4, [5, 1, 3, 3], [5, 1, 4, 2]], [3, 2, 2], [3, 1, 0], 0.25)
Y = subject("y", [[3] * 4, [2, 4, 3, 3], [3, 3, 5, 5]], [1, 2, 3], [2, 1, 4], 0.75)
TUNED = {"id": "x", "subject": 0, "answers": [3, 3, 4, 2], "steps": 9, "seconds": 30.0}
STUDY = Study(people(), 0, {"pas": [X, Y]}, [TUNED], 4.0)


def test_which_alpha_each_rule_takes():
    assert tables.chosen([X, Y], "alpha 0") == [0, 0]
    assert tables.chosen([X, Y], "validated") == [1, 0]  # a tie goes to the smaller alpha
    assert tables.chosen([X, Y], "one alpha") == [0, 0]  # 4, 4 and 5 in all
    assert tables.chosen([X, Y], "oracle") == [2, 1]
    later = subject("z", X["answers"], [9, 1, 1], [3, 1, 0])
    assert tables.chosen([later, Y], "one alpha") == [1, 1]
    assert tables.answers([X, Y], "validated").tolist() == [[5, 1, 3, 3], [3, 3, 3, 3]]


def table(rows, key="method"):
    return {row[key]: row for row in rows}


def test_rows_of_the_table():
    found = table(tables.rows([STUDY]))
    expected = {
        "always (C)": (2.0, 0.5, 2.5),
        "no persona": (2.0, 0.5, 2.5),
        "pas, validated": (1.0, 0.5, 1.5),
        "pas, one alpha": (2.0, 0.5, 2.5),
        "pas, oracle": (0.5, 0.0, 0.5),
        "DPO per subject": (2.0, 0.0, 2.0),
        "pas, validated, DPO's subjects only": (0.0, 1.0, 1.0),
    }
    for method, (a, c, score) in expected.items():
        row = found[method]
        assert (row["A"], row["C"], row["Score"]) == pytest.approx((a, c, score)), method
    assert [found[m]["subjects"] for m in ("pas, oracle", "DPO per subject")] == [2, 1]
    assert found["pas, oracle"]["95 % CI"] == "[0.00, 1.00]"
    assert found["pas, oracle"]["Score"] <= found["pas, validated"]["Score"]
    # What the searches say of their own errors is what the tables find.
    errors = tables.subject_errors(STUDY)
    assert errors["pas, oracle"].sum(1).tolist() == [X["test"][2], Y["test"][1]]


def test_subjects_of_all_seeds():
    other = Study(people([OWN[0], OWN[1]], ("y", "w")), 1, {"pas": [X, Y]}, [], 4.0)
    everybody = tables.pooled([STUDY, other])
    assert everybody.ids == ("x", "y", "w")
    assert everybody.values.tolist() == [OWN[0].tolist(), OWN[1].tolist(), OWN[1].tolist()]
    curves = tables.curves([STUDY, other], "test")
    assert curves == {"pas": {0.0: [2.5, 2.5], 1.0: [1.0, 1.0], 2.0: [2.0, 2.0]}}
    assert tables.curves([STUDY], "validation")["pas"] == {0.0: [2.0], 1.0: [2.0], 2.0: [2.5]}


def test_paired_differences():
    found = {(r["Score of"], r["minus"]): r["difference"] for r in tables.differences([STUDY])}
    assert found == {
        ("pas, validated", "no persona"): -1.0,
        ("pas, one alpha", "no persona"): 0.0,
        ("pas, oracle", "pas, validated"): -1.0,
        ("pas, validated", "DPO per subject"): -1.0,
    }
    everything = {
        "pas": [X, Y], "fewshot+pas": [Y, Y], "p2+pas": [X, X], "pas centered": [X, X],
        "pas weighted": [Y, Y], "pas shuffled": [Y, X],
    }  # fmt: skip
    all_of_them = tables.differences([replace(STUDY, searched=everything)])
    assert len(all_of_them) == 11
    assert all(
        float(r["95 % CI"][1:].split(",")[0]) <= r["difference"] + 0.005 for r in all_of_them
    )


def test_correlations():
    predicted = tables.answers([X, Y], "validated")
    np.testing.assert_allclose(tables.correlations(STUDY, predicted), [1.0, 0.0])
    three = people([[3, 3, 5, 1, 3, 3, 5, 2], [3, 3, 2, 3, 3, 3, 2, 0], [3, 3, 4, 4, 3, 3, 1, 4]],
                   ("a", "b", "c"))  # fmt: skip
    said = np.array([[4, 2, 5, 1], [3, 3, 2, 2], [5, 5, 3, 4]])
    # Means of each trait, the negative item reversed, the missing answer left out.
    own = {"A": [5.0, 2.5, 3.0], "C": [4.5, 2.0, 1.5]}
    predicted = {"A": [4.0, 3.0, 3.0], "C": [5.0, 3.0, 2.5]}
    expected = [np.corrcoef(own[t], predicted[t])[0, 1] for t in "AC"]
    found = tables.correlations(Study(three, 0, {}, [], 0.0), said)
    np.testing.assert_allclose(found, expected)


def test_recorded_metrics():
    everything = {
        "pas": [X, Y], "fewshot+pas": [Y, Y], "p2+pas": [X, X], "pas centered": [X, X],
        "pas weighted": [Y, Y], "pas shuffled": [Y, X],
    }  # fmt: skip
    found = table(tables.results([replace(STUDY, searched=everything)], "tiny"), "name")
    expected = {
        "score_pas_validated": 1.5,
        "score_pas_one_alpha": 2.5,
        "score_pas_oracle": 0.5,
        "score_no_persona": 2.5,
        "score_always_neutral": 2.5,
        # Both mean A 5 and 1, C 4 and 3, turned for the negative items: all right.
        "score_own_trait_mean": 0.0,
        "score_fewshot": 2.5,
        "score_dpo": 2.0,
        "score_pas_validated_dpo_subjects": 1.0,
        "seconds_per_subject_pas": 5.0,  # half of the extraction, fit and validation
        "seconds_per_subject_dpo": 30.0,
        "skill": 1 - 1.5 / 2.5,
        "trait_correlation": 0.5,
        "selection_gain": 1.0,
        "share_common": 0.5,
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name
        low, high = found[name]["ci95"]
        assert low <= found[name]["value"] <= high
    others = ("fewshot_pas_validated", "fewshot_pas_oracle", "p2", "p2_pas_validated",
              "pas_centered", "pas_weighted", "pas_shuffled")  # fmt: skip
    by_trait = {f"error_{t}" for t in STUDY.respondents.inventory.traits}
    assert set(found) == {*expected, *by_trait, *(f"score_{o}" for o in others)}
    assert sum(found[e]["value"] for e in by_trait) == pytest.approx(0.5)
    beside = {p["metric"]: p["value"] for p in PUBLISHED}
    assert all(found[e]["published"] == beside.get(e) for e in by_trait)
    assert found["skill"]["ci95"][0] < 0.4 < found["skill"]["ci95"][1]
    published = {p["metric"]: p["value"] for p in PUBLISHED}["score_pas_oracle"]
    assert found["score_pas_oracle"]["published"] == published == 4.41
    assert "Llama-3-8B" in found["score_pas_oracle"]["published_setting"]
    assert found["score_pas_validated"]["published"] is None
    without = table(tables.results([replace(STUDY, tuned=[])], "tiny"), "name")
    assert not [n for n in without if "dpo" in n]
    assert tables.neutral([STUDY]) == 2.5


def test_collapsed_answers_fail_the_run():
    tables.check([STUDY])
    flat = subject("x", [[5] * 4] * 3, [1, 1, 1], [1, 1, 1])
    with pytest.raises(RunError, match=r"fewshot\+pas: the answers have collapsed"):
        tables.check([replace(STUDY, searched={"pas": [X, Y], "fewshot+pas": [flat, flat]})])


# ---- what the notebook draws


def test_letters_and_profiles():
    rows = figures.letters([STUDY])
    assert [r["alpha"] for r in rows] == [0.0, 1.0, 2.0]
    middle, one, two = rows
    assert (middle["answer 3"], middle["answer 5"]) == (1.0, 0.0)
    assert (middle["subjects with one answer"], one["subjects with one answer"]) == (2, 0)
    # 5 1 3 3 and 2 4 3 3: one and a half bits each; 5 1 4 2 and 3 3 5 5: two bits and one.
    bits = [r["entropy a subject (bits)"] for r in rows]
    assert bits == pytest.approx([0.0, 1.5, 1.5])
    assert [r["chosen (validated)"] for r in rows] == [1, 1, 0]
    assert two["answer 5"] == pytest.approx(3 / 8)
    assert figures.extreme(STUDY) == 0  # x gains 2, y nothing
    best_at_last = subject("w", X["answers"], [1, 2, 3], [9, 1, 0])
    two = people(ids=("w", "x"))
    assert figures.extreme(Study(two, 0, {"pas": [best_at_last, X]}, [], 0.0)) == 1
    assert figures.profiles(STUDY, 0) == {
        "own answers": {"A": 5.0, "C": 4.0},
        "pas, validated": {"A": 5.0, "C": 3.0},
        "no persona": {"A": 3.0, "C": 3.0},
    }
    assert figures.profiles(STUDY, 1)["own answers"] == {"A": 1.0, "C": 3.0}
    assert figures.facets(STUDY.respondents, 1) == {"A: f": 1.0, "C: f": 3.0}
    released = replace(STUDY.respondents, targets="released")
    assert figures.keyed(released, OWN[0]).tolist() == OWN[0].tolist()
    assert figures.keyed(STUDY.respondents, OWN[1]).tolist() == [1, 1, 1, 1, 3, 3, 3, 0]


def test_times():
    found = table(figures.times([STUDY]))
    assert found["pas"]["in all"] == 2 + 1 + 2
    assert found["pas"]["extraction, shared"] == 2
    assert found["pas"]["forwards"] == 12
    assert found["pas"]["DPO takes"] == "6.0 times that"
    assert (found["DPO"]["in all"], found["DPO"]["steps"]) == (30.0, 9)
    alone = table(figures.times([replace(STUDY, tuned=[])]))
    assert set(alone) == {"pas"}
    assert alone["pas"]["DPO takes"] == "–"


# ---- presets


def test_settings_of_a_preset():
    assert presets.settings("paper") == Settings()
    assert presets.settings("tiny") == Settings().tiny()
    official = presets.settings("paper", official=True)
    assert (official.orders, official.wording, official.selection) == (
        ("forward",), "paper", "paper",
    )  # fmt: skip
    chosen = presets.settings(
        "tiny", alphas=" 4, 1,4", heads=3, folds=-1, direction="", wording="paper"
    )
    assert chosen == replace(Settings().tiny(), alphas=(0.0, 1.0, 4.0), heads=3, wording="paper")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alphas": "1,two"}, "alphas='1,two': give numbers separated by commas"),
        ({"alphas": "1,,2"}, "give numbers separated by commas"),
        ({"alphas": "1,-2"}, "alpha -2 is negative"),
        ({"alphas": "nan"}, "alpha is nan; it must be a finite number"),
        ({"alphas": "1,inf"}, "alpha is inf"),
        ({"heads": 0}, "heads=0 must be at least 1"),
        ({"folds": 6}, "folds=6 1 to 5"),
        ({"direction": "lda"}, "direction 'lda'"),
        ({"selection": "best"}, "selection 'best'"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        presets.settings("tiny", **given)


def test_each_seed_draws_from_a_block_of_its_own():
    everybody = respondents(4 * presets.BLOCK)
    drawn = presets.draw(everybody, "tiny", 0, range(4))
    assert list(drawn) == [0, 1, 2, 3]
    assert [len(r) for r in drawn.values()] == [presets.TINY_SUBJECTS] * 4
    ids = [i for r in drawn.values() for i in r.ids]
    assert len(set(ids)) == len(ids)
    for seed, some in drawn.items():
        places = [int(i[1:]) for i in some.ids]
        assert {p // presets.BLOCK for p in places} == {seed}
        assert np.array_equal(some.values, everybody.values[places])
    assert presets.draw(everybody, "tiny", 0, [2])[2].ids == drawn[2].ids
    assert len(presets.draw(everybody, "tiny", 5, [0])[0]) == 5


@pytest.mark.parametrize(("preset", "count"), [("paper", 5), ("tiny", 40)])
def test_a_stratified_draw_takes_one_of_every_part(preset, count):
    everybody = respondents(3 * presets.BLOCK, missing=0.05)
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
        assert [p in part for p, part in zip(places, parts, strict=True)] == [True] * count, seed
    two = presets.draw(everybody, preset, count, [0, 1])
    assert two[0].ids != two[1].ids
    assert len(presets.draw(everybody, "paper", 500, [0])[0]) == len(everybody)
    assert len(presets.draw(everybody, "paper", 0, [0])[0]) == presets.PAPER_SUBJECTS


def test_people_who_cannot_be_read(tmp_path):
    with pytest.raises(RunError, match="papi_path=FOLDER"):
        presets.people("paper", "", "", "", "")
    with pytest.raises(RunError, match="is no folder"):
        presets.people("paper", str(tmp_path / "absent"), "", "", "")
    with pytest.raises(FileNotFoundError, match="is no file"):
        presets.people("tiny", str(tmp_path), "", "", "")
    mine = tmp_path / "mine.csv"
    rows = [f"{i.id},{i.text},{i.trait},{i.facet},{i.sign},{i.split}" for i in INVENTORY.items]
    mine.write_text("id,text,trait,facet,sign,split\n" + "\n".join(rows), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"mine.csv has no answers: give them with answers_path"):
        presets.people("tiny", str(mine), "", "", "")
    given = tmp_path / "answers.json"
    named = [
        {"id": n, **{i.id: int(v) for i, v in zip(INVENTORY.items, row, strict=True)}}
        for n, row in enumerate(respondents(30).values)
    ]
    given.write_text(json.dumps(named), encoding="utf-8")
    read = presets.people("tiny", str(mine), str(given), "", "")
    assert (read.keying.verdict, read.targets) == ("raw", "raw")
    assert read.values.tolist() == respondents(30).values.tolist()
    with pytest.raises(DatasetError, match="contradicts the data"):
        presets.people("tiny", str(mine), str(given), "", "reverse-scored")
    with pytest.raises(DatasetError, match="targets='both'"):
        presets.people("tiny", str(mine), str(given), "both", "")


def test_models_of_a_preset(monkeypatch):
    monkeypatch.setattr(presets, "load", lambda name: name)
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert presets.model("paper", "") == BASE
    assert presets.model("tiny", "some/model") == "some/model"
    assert asked == []
    assert presets.model("tiny", "") == "survey"
    assert asked == [1]
