"""The embedded models of sums: their sample, and what three stages of training can do."""

import re
from collections import Counter

import pytest
from transformers import AutoTokenizer

import workbench as wb
from tests.helpers.sums import family_of, solved
from workbench.data.problems import read_problems
from workbench.papers.self_verification.conditions import find
from workbench.paths import data_folder
from workbench.tiny.sums_model import (
    SAMPLES,
    STAGES,
    SumsRecipe,
    build_tokenizer,
    card,
    measure,
    problems,
)
from workbench.tiny.training import save_rows
from workbench.worlds import sums


def test_the_sample():
    rows = problems()
    assert rows == problems()
    assert len(rows) == len({row["question"] for row in rows}) == len({row["id"] for row in rows})
    families = Counter(int(row["id"].split("-")[0]) for row in rows)
    assert families[sums.AMBIGUOUS] == SAMPLES["ambiguous"]
    assert sum(families[f] for f in sums.FAMILIES) == SAMPLES["families"]
    for row in rows:
        family = family_of(row["question"])
        assert row["id"].startswith(f"{family}-")
        answer, numbers = solved(row["question"])
        assert row["answer"] == str(answer)
        assert sums.Sum(family, tuple(numbers), (), "", "", (), ()).held_out


def test_the_shipped_sample_is_the_one_that_is_made(tmp_path):
    rows = problems()
    save_rows(tmp_path / "sums.jsonl", rows)
    shipped = data_folder() / "sums.jsonl"
    assert (tmp_path / "sums.jsonl").read_bytes() == shipped.read_bytes()
    read = read_problems("sums")
    assert [(p.id, p.text, p.answer) for p in read] == [
        (row["id"], row["question"], row["answer"]) for row in rows
    ]
    assert all(len(find(p.context)) in (2, 3) and not find(p.question) for p in read)


def test_numbers_are_single_tokens_and_the_shipped_tokenizer_is_the_recipes():
    tokenizer = build_tokenizer()
    for number in range(200):
        assert len(tokenizer(f" {number}")["input_ids"]) == 1, number
    for stage in STAGES:
        shipped = AutoTokenizer.from_pretrained(data_folder() / stage)
        assert shipped.get_vocab() == tokenizer.get_vocab()


def test_the_card_is_the_recipes_and_its_figures_hold_now():
    text = (data_folder() / "sums" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)% \|$", text, re.M)
    stated = {
        stage: {ability: float(shares[i]) / 100 for ability, *shares in rows}
        for i, stage in enumerate(STAGES)
    }
    models = {stage: wb.load(stage, device="cpu") for stage in STAGES}
    assert text == card(SumsRecipe(), models["sums"].hf.num_parameters(), stated)
    for stage, model in models.items():
        # A few of 200 may tip on another processor.
        assert measure(model) == pytest.approx(stated[stage], abs=0.03)
