"""PAS's UI: aligned as the study does, and a short form."""

import numpy as np
import pytest

import workbench as wb
from workbench.papers.pas import paper
from workbench.papers.pas.contrast import contrast_answers
from workbench.papers.pas.search import directions_by_fold, search


def test_pas_aligns_to_a_respondent_as_the_study_does(tmp_path):
    ui = wb.ui.pas(folder=tmp_path)
    ui.by.selected_index, ui.who.value = 2, "p003"
    ui.align()
    ui.wait(120)
    people = paper.people("tiny")
    person = people.take([people.ids.index("p003")])
    contrast = contrast_answers(ui.model, ui.inventory, orders=ui.settings.orders)
    by_fold = directions_by_fold(contrast, person, ui.settings, 0)
    systems = ["You are a helpful, honest and concise assistant."] * len(by_fold)
    got = search(ui.model, contrast, person, 0, by_fold, systems, ui.settings)
    best = int(np.argmin(got.validation))
    assert ui.alpha.value == got.alphas[best]
    assert ui.direction.heads == got.heads
    assert ui.answered["after"].tolist() == got.answers[best]
    assert ui.answered["before"].tolist() == got.answers[0]
    ui.alpha.value = 8.0
    ui.wait()
    assert ui.answered["after"].tolist() == got.answers[got.alphas.index(8.0)]
    ui.save.click()
    saved = wb.HeadDirections.load(tmp_path / "persona.safetensors")
    assert saved.digest() == ui.direction.digest()
    assert not ui.model.hooks
    ui.close()


def test_pas_takes_a_short_form_and_says_what_it_lacks():
    ui = wb.ui.pas()
    for level in ui.levels.values():
        level.value = 3
    ui.align()
    assert "0 answers off the middle" in ui.message.value
    ui.by.selected_index = 0
    ui.align()
    assert "0 answers off the middle; give at least 10" in ui.message.value
    for n, item in enumerate(ui.form.values()):
        item.value = 5 if n % 3 else 2
    ui.align()
    ui.wait(120)
    assert "Too few answers to hold some out" in ui.message.value
    assert ui.measured["target"]["A"] == pytest.approx(
        np.mean([v if ui.inventory.items[p].sign > 0 else 6 - v
                 for p, v in ((p, f.value) for p, f in ui.form.items())
                 if ui.inventory.items[p].trait == "A"])
    )  # fmt: skip
    assert set(ui.answered["target"].tolist()) == {0}
    ui.close()
