"""PAS's study on a random model: what is computed, once, and what it costs."""

import json
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.directions import some_lock
from tests.helpers.pas import INVENTORY, TEST, TRAIN, build, respondents
from workbench.data.inventories import Inventory
from workbench.errors import DatasetError
from workbench.papers.pas import answer, calls, paper, presets, study
from workbench.papers.pas.contrast import contrast_answers
from workbench.papers.pas.dpo import tune
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.personas import personas, probes, stability
from workbench.papers.pas.search import directions_by_fold, search, system_prompts
from workbench.papers.workers import worker_count
from workbench.runs.cache import cached

FEW = Settings(
    heads=4, alphas=(0.0, 3.0), orders=("forward",), portrait_tokens=4, dpo_subjects=1, dpo_steps=1
)
ALONE = replace(FEW, modes=("pas",), controls=0)


def compute(name, key, job):
    return job()


class Counting:
    """`cached`, and the names of what was really computed."""

    def __init__(self, folder):
        self.keep, self.computed = partial(cached, folder), []

    def __call__(self, name, key, job):
        def counted():
            self.computed.append(name)
            return job()

        return self.keep(name, key, counted)


def test_a_study_goes_on_where_it_stopped(model, tmp_path):
    everybody = respondents(2)
    first, again = Counting(tmp_path), Counting(tmp_path)
    (a,) = study.run(model, {0: everybody}, FEW, first).groups
    conditions = ["pas", "fewshot+pas", "p2+pas", "pas centered", "pas weighted", "pas shuffled"]
    assert list(a.searched) == conditions
    names = [f"{c.replace(' ', '_')}-0-p{s}" for c in conditions for s in range(2)]
    assert first.computed == [*names, "dpo-0-p0"]
    for condition, searched in a.searched.items():
        assert [s.id for s in searched] == ["p0", "p1"]
        assert {s.mode for s in searched} == {condition.split()[0]}
    plain = a.searched["pas"]
    for control in ("pas weighted", "pas shuffled"):
        assert [s.share for s in plain] != [s.share for s in a.searched[control]]
    assert [s.answers for s in plain] != [s.answers for s in a.searched["pas centered"]]
    # Everybody is searched under the prompt that holds their own answers.
    contrast = contrast_answers(model, INVENTORY, orders=FEW.orders)
    by_fold = directions_by_fold(contrast, everybody, FEW)
    systems = system_prompts(model, "fewshot+pas", everybody, [f.held for f in by_fold], FEW)
    mine = search(model, contrast, everybody, 1, by_fold, systems[1], FEW, "fewshot+pas")
    assert timeless(a.searched["fewshot+pas"][1]) == timeless(mine)
    (tuned,) = a.tuned
    assert (tuned.id, tuned.steps, len(tuned.losses)) == ("p0", 1, 1)
    assert len(tuned.answers) == len(TEST)
    used = int((~np.isin(everybody.values[0, TRAIN], (0, 3))).sum())
    assert tuned.pairs == used
    (b,) = study.run(model, {0: everybody}, FEW, again).groups
    assert again.computed == []
    # JSON has lists for pairs.
    assert json.dumps(asdict(b)["searched"]) == json.dumps(asdict(a)["searched"])
    assert b.tuned == a.tuned

    other = Counting(tmp_path)
    study.run(model, {1: everybody}, ALONE, other)
    assert other.computed == ["pas-1-p0", "pas-1-p1", "dpo-1-p0"]
    values = everybody.values.copy()
    values[1, TRAIN[0]] = 6 - values[1, TRAIN[0]] if values[1, TRAIN[0]] != 3 else 5
    one = Counting(tmp_path)
    changed = replace(everybody, values=values)
    study.run(model, {0: changed}, ALONE, one)
    assert one.computed == ["pas-0-p1"]
    weaker = Counting(tmp_path)
    study.run(model, {0: everybody}, replace(ALONE, alphas=(0.0, 1.0)), weaker)
    assert weaker.computed == ["pas-0-p0", "pas-0-p1", "dpo-0-p0"]
    # The same answers to other statements are other results.
    items = list(INVENTORY.items)
    items[TEST[0]] = replace(items[TEST[0]], text=items[TEST[1]].text + " too")
    reworded = replace(everybody, inventory=Inventory("other", tuple(items)))
    text = Counting(tmp_path)
    study.run(model, {0: reworded}, ALONE, text)
    assert text.computed == ["pas-0-p0", "pas-0-p1", "dpo-0-p0"]


def test_somebody_on_one_side_costs_the_centered_control_alone(model, caplog):
    everybody = respondents(2)
    everybody.values[1] = np.where(everybody.values[1] < 4, 3, everybody.values[1])
    everybody.values[1, TRAIN[::2]] = 5
    settings = replace(FEW, modes=("pas",), dpo_subjects=0)
    (group,) = study.run(model, {0: everybody}, settings, compute).groups
    assert list(group.searched) == ["pas", "pas weighted", "pas shuffled"]
    assert "pas centered is left out: all usable answers of subject 1" in caplog.text
    with pytest.raises(DatasetError, match="subject 1"):
        study.run(
            model, {0: everybody}, replace(ALONE, dpo_subjects=0, direction="centered"), compute
        )


def test_the_prompts_that_were_counted_are_scored(model, monkeypatch):
    everybody = respondents(2)
    settings = replace(FEW, orders=("forward", "reversed"), dpo_subjects=0, folds=2, controls=1)
    settings = replace(settings, modes=("pas", "fewshot+pas"))
    parts = {part.what: part for part in calls.parts(model, {0: everybody}, settings)}
    count = 0
    real = answer.scored

    def counted(model, questions):
        nonlocal count
        count += len(questions.encoded)
        return real(model, questions)

    monkeypatch.setattr(answer, "scored", counted)
    study.run(model, {0: everybody}, settings, compute)
    assert parts.pop("answers captured").calls == 2 * len(TRAIN) * 2
    assert sum(part.calls for part in parts.values()) == count
    assert all(part.seconds > 0 for part in parts.values())


def test_descriptions_and_tunings_are_counted(model):
    people = {0: respondents(2), 1: respondents(3)}
    settings = replace(FEW, modes=("pas", "p2+pas"), folds=2, dpo_subjects=2, portrait_tokens=7)
    count = {part.what: part.calls for part in calls.parts(model, people, settings)}
    assert count["descriptions of 7 tokens at most"] == 5 * 3
    assert count["DPO steps of 16 pairs"] == 4 * settings.dpo_steps


def test_geometry(model):
    everybody = respondents(3)
    contrast = contrast_answers(model, INVENTORY, orders=FEW.orders)
    geometry = study.geometry(model, everybody, FEW, splits=3, compared=2)
    rows = geometry.subjects
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
    assert geometry.ids == ["p0", "p1"]
    assert geometry.shape == (len(TRAIN), 2, 8, 8)
    cosine = geometry.cosines
    a, b = found.raw[:2].flatten(1)
    assert cosine[0][1] == pytest.approx((a @ b / (a.norm() * b.norm())).item(), abs=1e-5)
    assert cosine[0][0] == pytest.approx(1, abs=1e-5)


def test_geometry_is_of_the_direction_that_is_asked_for(model):
    everybody, contrast = respondents(2), contrast_answers(model, INVENTORY, orders=FEW.orders)
    for kind in ("paper", "centered", "weighted"):
        settings = replace(FEW, direction=kind)
        geometry = study.geometry(model, everybody, settings, splits=2, compared=2)
        raw = personas(contrast, everybody.values[:, TRAIN], kind).raw.flatten(1)
        expected = torch.nn.functional.cosine_similarity(raw[0], raw[1], dim=0).item()
        assert geometry.cosines[0][1] == pytest.approx(expected, abs=1e-5)


def test_everybody_is_tuned_on_their_own_answers():
    everybody = respondents(2)
    everybody.values[1, TRAIN[::2]] = 3
    used = (~np.isin(everybody.values[:, TRAIN], (0, 3))).sum(1)
    settings = replace(FEW, dpo_subjects=2)
    tuned = [tune(build(), everybody, s, settings, seed=0) for s in range(2)]
    assert [t.pairs for t in tuned] == used.tolist()
    assert [t.id for t in tuned] == ["p0", "p1"]


def test_two_workers_find_what_one_finds(tmp_path):
    survey = presets.model("tiny", "")
    people = presets.draw(paper.people("tiny"), "tiny", 2, [1])
    settings = replace(ALONE, modes=("pas", "p2+pas"))
    (one,), (two,) = (
        study.run(survey, people, settings, keep, workers=count).groups
        for count, keep in ((1, compute), (2, partial(cached, tmp_path)))
    )
    for mode in ("pas", "p2+pas"):
        a, b = one.searched[mode], two.searched[mode]
        assert list(map(timeless, a)) == list(map(timeless, b))
    assert list(map(timeless, one.tuned)) == list(map(timeless, two.tuned))
    assert len(list(tmp_path.iterdir())) == 2 * 2 + 1


def timeless(result):
    """Plain data without seconds; pairs as lists."""
    plain = json.loads(json.dumps(asdict(result)))
    return {name: value for name, value in plain.items() if not name.startswith("seconds")}


def test_only_an_embedded_model_as_loaded_is_worked_on_by_several(model):
    assert worker_count(model) == 1
    survey = presets.model("tiny", "")
    assert worker_count(survey) >= 1
    with wb.steer(survey, some_lock(survey), 1.0):
        assert worker_count(survey) == 1


def template(model):
    model.tokenizer.chat_template += " "


def token(model):
    model.tokenizer.add_tokens(["gate-of-Mara"])


def epsilon(model):
    model.layer(0).input_layernorm.variance_epsilon *= 2


def head(model):
    model.o_proj(0).weight.data[:, :8] = 0


@pytest.mark.parametrize("edit", [template, token, epsilon, head])
def test_an_edited_model_is_asked_again(tmp_path, edit):
    model, settings = build(), replace(ALONE, dpo_subjects=0)
    first, second, third = (Counting(tmp_path) for _ in range(3))
    study.run(model, {0: respondents(1)}, settings, first)
    edit(model)
    for counting in (second, third):
        study.run(model, {0: respondents(1)}, settings, counting)
    assert first.computed == second.computed == ["pas-0-p0"]
    assert third.computed == []


@pytest.mark.parametrize("edit", [template, epsilon, head])
def test_workers_would_load_another_model_than_an_edited_one(edit):
    survey = presets.model("tiny", "")
    edit(survey)
    assert worker_count(survey) == 1
