"""The embedded models of symbols and coin flips: their texts, tokens and card."""

import random
import re

import pytest
from transformers import AutoTokenizer

import workbench as wb
from workbench.papers.neural_comprehension.paper import STAGES, TASKS
from workbench.papers.neural_comprehension.prompts import gate
from workbench.papers.neural_comprehension.rules import place_at
from workbench.papers.neural_comprehension.tasks import TASKS as BY_NAME
from workbench.paths import data_folder
from workbench.tiny.symbols_model import (
    LENGTHS,
    STEPS,
    FlipsRecipe,
    SymbolsRecipe,
    card,
    characters,
    measure,
    symbolic_text,
    words,
)
from workbench.worlds import pens


def test_what_is_taught_is_what_the_study_asks():
    rng, rules, seen = random.Random(0), gate().rules, set()
    for _ in range(400):
        prompt, reply = symbolic_text(rng)
        if prompt.endswith("How many? "):
            continue
        place = place_at(rules, prompt, len(prompt))
        assert reply == f"{place.sep}{BY_NAME[place.rule.name].answer(place.given)}."
        seen.add(place.rule.name)
        longest = max(map(len, re.split(r"[+-]", place.given)))
        assert longest <= max(LENGTHS[len(place.given) != longest])
    assert seen == set(TASKS)


def test_the_shipped_tokenizers_are_the_recipes():
    assert set(STAGES) == set(STEPS)
    for name, tokenizer in (("symbols", characters()), *((s, words()) for s in STAGES)):
        shipped = AutoTokenizer.from_pretrained(data_folder() / name)
        assert shipped.get_vocab() == tokenizer.get_vocab()
    story = pens.coins(random.Random(0), 3)
    assert len(words()(f"{story.read}{pens.ARROW} {story.answer}").input_ids) == 5
    assert len(characters()("65+48=113.").input_ids) == 10


def test_the_card_is_the_recipes_and_its_figures_hold_now():
    text = (data_folder() / "symbols" / "README.md").read_text(encoding="utf-8")
    stated = {}
    for model, ability, share in re.findall(r"^\| (\S+) \| (.+?) \| ([\d.]+)% \|$", text, re.M):
        stated.setdefault(model, {})[ability] = float(share) / 100
    models = {name: wb.load(name, device="cpu") for name in ("symbols", *STEPS)}
    sizes = {name: models[name].hf.num_parameters() for name in ("symbols", "flips")}
    assert text == card(SymbolsRecipe(), FlipsRecipe(), sizes, stated)
    for name, shares in stated.items():
        draw = next(iter(shares)).split()[0]
        told = tuple(sorted({int(re.search(r"\d+", ability)[0]) for ability in shares}))
        # A few of 100 may tip on another processor.
        assert measure(models[name], draw, told) == pytest.approx(shares, abs=0.04)
