"""The embedded model of questionnaires: its people, its training, what the shipped one knows."""

import re

import torch
from transformers import AutoTokenizer

import workbench as wb
from tests.helpers.pas import INVENTORY, TOKENIZER
from workbench.paths import data_folder
from workbench.tiny.survey_model import (
    Stage,
    SurveyRecipe,
    card,
    measure,
    train,
    write_people,
)
from workbench.tiny.survey_texts import Mixture, Writer
from workbench.tiny.training import build_model
from workbench.worlds.population import Population

POPULATION = Population(INVENTORY)


def test_the_shipped_tokenizer_is_the_recipes_and_the_model_is_small():
    shipped = AutoTokenizer.from_pretrained(data_folder() / "survey")
    assert shipped.get_vocab() == TOKENIZER.get_vocab()
    assert shipped.chat_template == TOKENIZER.chat_template
    size = sum(f.stat().st_size for f in (data_folder() / "survey").iterdir())
    assert size < 4 * 2**20


def test_the_shipped_people_are_the_recipes(tmp_path):
    write_people(POPULATION, tmp_path / "people.csv")
    shipped = data_folder() / "survey_answers.csv"
    assert (tmp_path / "people.csv").read_bytes() == shipped.read_bytes()


def test_the_shipped_model_knows_a_person_from_what_is_told():
    scores = measure(wb.load("survey", device="cpu"), POPULATION, count=12)
    neutral, nothing, few, all_ = scores.values()
    assert all_ < few < min(neutral, nothing)
    assert all_ < 0.7 * neutral


def test_the_shipped_card_is_the_recipes():
    text = (data_folder() / "survey" / "README.md").read_text(encoding="utf-8")
    stated = {name: float(v) for name, v in re.findall(r"^\| (.+?) \| ([\d.]+) \|$", text, re.M)}
    assert len(stated) == 4
    size = wb.load("survey", device="cpu").hf.num_parameters()
    assert text == card(SurveyRecipe(), size, stated)


def test_training_begins_and_is_the_same_twice():
    recipe = SurveyRecipe(
        hidden=16, layers=1, heads=2, kv_heads=1, mlp=16, texts=4,
        stages=(Stage(3, Mixture()), Stage(2, Mixture())),
    )  # fmt: skip
    writer, runs = Writer(INVENTORY, TOKENIZER), []
    for _ in range(2):
        model, seen = build_model(recipe, TOKENIZER, recipe.spread), []
        train(model, writer, POPULATION, recipe, lambda *x, s=seen: s.append(x))
        runs.append((seen, model.state_dict()))
    assert [step for step, _ in runs[0][0]] == [1, 2, 3, 4, 5]
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[1][1][k], v) for k, v in runs[0][1].items())
