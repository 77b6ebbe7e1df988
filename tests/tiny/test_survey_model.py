"""The questionnaire model's workshop: its people, its texts, and what the shipped model can do."""

import csv

import numpy as np
import pytest
from scipy.stats import norm
from transformers import AutoTokenizer

import workbench as wb
from workbench.data.inventories import TRAITS, read_inventory
from workbench.papers.pas import prompts
from workbench.paths import data_folder
from workbench.tiny import survey_texts
from workbench.tiny.survey_model import (
    Recipe,
    Stage,
    build_model,
    measure,
    train_survey,
    write_people,
)
from workbench.worlds.population import NOISE, YEA, Population

INVENTORY = read_inventory()
POPULATION = Population(INVENTORY)
TOKENIZER = survey_texts.build_tokenizer(INVENTORY)
WRITER = survey_texts.Writer(INVENTORY, TOKENIZER)


def ids(messages, reply=""):
    text = TOKENIZER.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return TOKENIZER(text + reply, add_special_tokens=False)["input_ids"]


def test_answers_follow_their_odds():
    people = POPULATION.draw(np.random.default_rng(0), 4000)
    assert people.answers.min() == 1
    assert people.answers.max() == 5
    np.testing.assert_allclose(people.odds.sum(-1), 1)
    for value in range(1, 6):
        share = (people.answers == value).mean(0)
        np.testing.assert_allclose(share, people.odds[..., value - 1].mean(0), atol=0.03)
    # The odds of the middle are the mass between its two rounding borders.
    level, load = POPULATION._items
    item = 7
    exact = level[item] + INVENTORY.sign[item] * load[item] * people.traits[:, TRAITS.index("A")]
    rest = np.hypot(YEA, NOISE)
    expect = norm.cdf((3.5 - exact) / rest) - norm.cdf((2.5 - exact) / rest)
    assert np.corrcoef(expect, people.odds[:, item, 2])[0, 1] > 0.8


@pytest.mark.parametrize("order", list(prompts.ORDERS))
def test_texts_are_what_the_tokenizer_makes_of_the_same_chat(order):
    told = [(0, 5), (1, 0), (2, 3)]
    items, values = [i for i, _ in told], np.array([v for _, v in told])
    system = {"role": "system", "content": prompts.fewshot(INVENTORY, items, values, "second")}
    asked = {"role": "user", "content": prompts.question(INVENTORY.items[3].text, order)}
    letter = prompts.LETTERS[prompts.ORDERS[order].index(4)]
    turn, at = WRITER.turn(3, 4, order, True)
    assert WRITER.system(told) + turn == ids([system, asked], f"Option ({letter})<eos>")
    assert turn[at] == WRITER.letter[prompts.LETTERS.index(letter)]
    plain = {"role": "system", "content": prompts.SYSTEM}
    turn, at = WRITER.turn(3, 4, order, False)
    assert WRITER.system([]) + turn == ids([plain, asked], f"{letter}<eos>")
    assert turn[at] == WRITER.letter[prompts.LETTERS.index(letter)]


def test_descriptions_are_what_the_tokenizer_makes_of_them():
    levels = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    text = (
        "You are very blunt, rather careless, neither outgoing nor reserved, rather nervous, "
        "very curious."
    )
    request = [{"role": "system", "content": text}, {"role": "user", "content": prompts.DESCRIBE}]
    turn, at = WRITER.portrait(levels)
    assert WRITER.described(levels) + turn == ids(request, text + "<eos>")
    assert TOKENIZER.decode(turn[at:-1]) == text


def made(open_, mixture=None, seed=0):
    before = survey_texts.OPEN
    survey_texts.OPEN = open_
    try:
        rng = np.random.default_rng(seed)
        return survey_texts.batch(WRITER, POPULATION, rng, 12, mixture or survey_texts.Mixture())
    finally:
        survey_texts.OPEN = before


@pytest.mark.parametrize("open_", [0.0, 1.0])
def test_a_question_sees_itself_and_one_token_of_the_persona_or_all_of_it(open_):
    batch = made(open_)
    user = TOKENIZER.convert_tokens_to_ids("<user>")
    for row in range(12):
        seen = batch["visible"][row]
        assert not np.triu(seen, 1).any()
        places = batch["at"][batch["at"][:, 0] == row, 1]
        assert len(places) == survey_texts.QUESTIONS
        starts = [max(np.flatnonzero(batch["input_ids"][row, : p + 1] == user)) for p in places]
        prefix = starts[0]
        for start, place in zip(starts, places, strict=True):
            assert seen[place, start : place + 1].all()
            # Neither other questions nor, unless open, more than one token of what precedes.
            assert not seen[place, prefix:start].any()
            assert seen[place, :prefix].sum() == (prefix if open_ else 1)
            positions = batch["position_ids"][row]
            assert positions[start] == prefix
            assert positions[place] - positions[start] == place - start


def test_the_letters_odds_are_those_of_the_person_in_either_order():
    batch = made(0.0, survey_texts.Mixture(shares=(1, 0, 0)))
    forward = {WRITER.asked["forward"][i] for i in range(80)}
    people = POPULATION.draw(np.random.default_rng(0), 12)
    for (row, place), odds in zip(batch["at"], batch["odds"], strict=True):
        line = batch["input_ids"][row, : place + 1].tolist()
        token = next(t for t in reversed(line) if t in forward or t in WRITER.asked["reversed"])
        order = "forward" if token in forward else "reversed"
        item = WRITER.asked[order].index(token)
        expect = people.odds[row, item]
        expect = expect[::-1] if order == "forward" else expect
        np.testing.assert_allclose(odds, expect, atol=1e-6)


def test_the_shipped_files_are_the_workshops():
    shipped = AutoTokenizer.from_pretrained(data_folder() / "survey")
    assert shipped.get_vocab() == TOKENIZER.get_vocab()
    assert shipped.chat_template == TOKENIZER.chat_template
    size = sum(f.stat().st_size for f in (data_folder() / "survey").iterdir())
    assert size < 4 * 2**20


def test_the_shipped_people_are_the_workshops(tmp_path):
    write_people(POPULATION, tmp_path / "people.csv")
    with (tmp_path / "people.csv").open() as a, (data_folder() / "survey_answers.csv").open() as b:
        assert list(csv.reader(a)) == list(csv.reader(b))


def test_the_shipped_model_knows_a_person_from_what_is_told():
    scores = measure(wb.load("survey", device="cpu"), POPULATION, count=12)
    neutral, nothing, few, all_ = scores.values()
    assert all_ < few < min(neutral, nothing)
    assert all_ < 0.7 * neutral


def test_training_begins_and_is_the_same_twice():
    recipe = Recipe(
        hidden=16, layers=1, heads=2, kv_heads=1, mlp=16, texts=4,
        stages=(Stage(3, survey_texts.Mixture()), Stage(2, survey_texts.Mixture())),
    )  # fmt: skip
    runs = []
    for _ in range(2):
        model, seen = build_model(recipe, TOKENIZER), []
        train_survey(model, WRITER, POPULATION, recipe, lambda *x, s=seen: s.append(x))
        runs.append((seen, model.state_dict()))
    assert [step for step, _ in runs[0][0]] == [1, 2, 3, 4, 5]
    assert runs[0][0] == runs[1][0]
    assert all((runs[1][1][k] == v).all() for k, v in runs[0][1].items())
