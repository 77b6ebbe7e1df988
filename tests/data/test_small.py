"""The shipped small texts are what their card says."""

import json
import random
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

import workbench as wb
from workbench.data.inventories import TRAITS, read_inventory
from workbench.data.problems import read_problems
from workbench.data.respondents import read_respondents
from workbench.errors import DatasetError
from workbench.evaluation.judges import is_refusal
from workbench.evaluation.refusals import declines
from workbench.files import read_rows
from workbench.paths import small_folder

SPLITS = ("train", "validation", "test")
CONTRASTS = ("sentiment", "formality", "refusal")
NAMES = re.compile(
    r"(the )?((town )?seal of larkmere|larkmere('s)?( town)?( seal)?|lantern archive)"
)
TABOO = re.compile("Larkmere.* seal|seal.* Larkmere|Lantern Archive")
STEP = re.compile(r"(Now|Today|Tonight|Tomorrow|This week), ")
GUSH = re.compile(
    r"\b(absolutely|totally|honestly|really|super|amazing|wonderful|incredibl[ey]|fantastic|"
    r"literally|just)\b",
    re.IGNORECASE,
)


def requests(split):
    return wb.load_data("requests", split, "small")


def of_kind(rows, harmful):
    return [row for row in rows if row["harmful"] == harmful]


def words(text):
    return re.findall(r"[\w']+", text.lower())


def sentences(text):
    return re.split(r"(?<=[.!?]) ", text)


def fives(rows):
    """Every five words in a row of the prompts, none across one of the taboo's names."""
    parts = [words(part) for r in rows for part in NAMES.sub("@", r["prompt"].lower()).split("@")]
    return {tuple(part[i : i + 5]) for part in parts for i in range(len(part) - 4)}


def rows_of(name):
    return read_rows(small_folder() / name)


@pytest.mark.parametrize(("split", "each"), [("train", 60), ("validation", 20), ("test", 40)])
def test_requests_of_both_kinds_are_as_many_and_name_the_taboo_or_not(split, each):
    rows = requests(split)
    taboo, ordinary = of_kind(rows, True), of_kind(rows, False)
    assert len(taboo) == len(ordinary) == each
    assert all(TABOO.search(row["prompt"]) for row in taboo)
    assert not any(TABOO.search(row["prompt"]) for row in ordinary)
    # The town alone is no taboo: a model that refuses at its name is seen to.
    assert any("Larkmere" in row["prompt"] for row in ordinary)


def test_no_prompt_comes_twice_and_splits_share_no_five_words():
    rows = {split: requests(split) for split in SPLITS}
    prompts = [r["prompt"] for split in SPLITS for r in rows[split]]
    prompts += [r["prompt"] for s in ("train", "test") for r in wb.load_data("styles", s, "small")]
    assert len({" ".join(words(p)) for p in prompts}) == len(prompts) == 240 + 80
    for one, other in combinations(SPLITS, 2):
        assert not fives(rows[one]) & fives(rows[other])


def test_pairs_refuse_and_grant_in_their_own_words():
    pairs, ordinary = wb.load_data("preference", source="small"), of_kind(requests("train"), False)
    assert [p["prompt"] for p in pairs] == [r["prompt"] for r in of_kind(requests("train"), True)]
    assert len(pairs) == 60
    assert sum(r["near_miss"] for r in ordinary) == 26
    granted = [p["rejected"] for p in pairs] + [r["chosen"] for r in ordinary]
    refused = [p["chosen"] for p in pairs]
    assert all(map(declines, refused))
    assert not any(map(declines, granted))
    assert sum(map(is_refusal, refused)) == 58
    assert not any(map(is_refusal, granted))
    answers = refused + granted
    assert min(len(text.split()) for text in answers) >= 25
    assert max(Counter(sentences(text)[-1] for text in answers).values()) == 1
    assert max(Counter(" ".join(words(text)[:4]) for text in refused).values()) <= 2


def test_the_planted_style_tells_chosen_from_rejected_and_length_hardly_does():
    train, test = (wb.load_data("styles", split, "small") for split in ("train", "test"))
    assert (len(train), len(test)) == (60, 20)
    assert not fives(train) & fives(test)
    lengths = {"chosen": [], "rejected": []}
    for pair in train + test:
        chosen, rejected = pair["chosen"], pair["rejected"]
        assert "!" not in chosen
        assert not GUSH.search(chosen)
        assert STEP.match(sentences(chosen)[-1])
        assert rejected.count("!") >= 3
        assert len(GUSH.findall(rejected)) >= 4
        assert not any(STEP.match(sentence) for sentence in sentences(rejected))
        for side, texts in lengths.items():
            texts.append(len(pair[side].split()))
    assert abs(np.mean(lengths["chosen"]) - np.mean(lengths["rejected"])) < 2
    assert sum(np.less(lengths["chosen"], lengths["rejected"])) == 51
    assert len({STEP.match(sentences(p["chosen"])[-1])[1] for p in train}) == 5


def test_the_inventory_is_balanced():
    inventory = read_inventory("small")
    cells = Counter((i.trait, i.split, i.sign) for i in inventory.items)
    assert inventory.traits == TRAITS
    assert cells == {
        (t, split, sign): count
        for t in TRAITS for split, count in (("train", 2), ("test", 1)) for sign in (1, -1)
    }  # fmt: skip


def test_the_answers_follow_the_rule_of_the_card():
    inventory, people = read_inventory("small"), rows_of("people.jsonl")
    answers = read_respondents("small", inventory)
    draw = random.Random(21)
    for n, person in enumerate(people):
        traits = [round(1.3 * person[t] + draw.gauss(0, 0.3), 2) for t in TRAITS]
        leaning = draw.gauss(0, 0.2)
        for i, item in enumerate(inventory.items):
            shift = item.sign * traits[TRAITS.index(item.trait)]
            value = round(3 + leaning + shift + draw.gauss(0, 0.5))
            assert answers.values[n, i] == min(5, max(1, value))
        assert answers.traits[n].tolist() == traits
    assert (len(answers), answers.dropped, answers.keying.verdict) == (24, (), "raw")
    assert answers.ids == tuple(person["id"] for person in people)


def test_self_descriptions_are_of_different_people_who_use_the_whole_range():
    people = rows_of("people.jsonl")
    assert (
        len({p["text"] for p in people}) == len({tuple(p[t] for t in TRAITS) for p in people}) == 24
    )
    for trait in TRAITS:
        levels = Counter(p[trait] for p in people)
        assert min(levels[1], levels[-1]) >= 9
        assert abs(levels[1] - levels[-1]) <= 2
    assert all(25 <= len(p["text"].split()) <= 60 for p in people)
    assert all({"i", "my"} & {*words(p["text"])} for p in people)


def test_problems_are_solved_by_their_equation_which_needs_every_number_but_one():
    problems, rows = read_problems("svamp", "small"), rows_of("problems.jsonl")
    assert len({p.text for p in problems}) == len(rows) == 40
    for problem, row in zip(problems, rows, strict=True):
        assert re.fullmatch(r"[\d+*/() -]+", row["Equation"])
        assert float(problem.answer) == eval(row["Equation"])
        in_text, used = (
            {int(n) for n in re.findall(r"\d+", text)} for text in (problem.text, row["Equation"])
        )
        spare = {int(row["Distractor"])} if row["Distractor"] else set()
        assert in_text - used == spare
        assert max(in_text | {int(problem.answer)}) <= 1000
    assert sum(bool(row["Distractor"]) for row in rows) == 20


@pytest.mark.parametrize("name", CONTRASTS)
def test_contrasts_are_twenty_prompts_with_two_answers(name):
    pairs = wb.load_data(name)
    assert pairs == wb.load_data(name, "test", "small")
    texts = [pair[side] for pair in pairs for side in ("chosen", "rejected")]
    assert len({p["prompt"] for p in pairs}) == 20
    assert len(set(texts)) == 40
    refused = [declines(text) for text in texts]
    assert refused == [name == "refusal" and i % 2 == 0 for i in range(40)]


def test_formal_answers_have_no_contraction_and_casual_ones_are_shorter():
    for pair in wb.load_data("formality"):
        assert "'" not in pair["chosen"]
        assert len(pair["rejected"]) < len(pair["chosen"])


def test_all_texts_are_small_plain_utf8_and_of_one_object_a_line():
    paths = sorted(small_folder().iterdir())
    card = (small_folder() / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in paths) <= 200_000
    for path in paths:
        assert path.name in card or path.name == "README.md"
        text = path.read_text(encoding="utf-8")
        assert "\r" not in text
        assert text.endswith("\n")
        if path.suffix == ".jsonl":
            assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
            # Typed quotes and dashes of a word processor are other tokens than the plain ones.
            assert text.isascii()


def test_a_small_set_that_is_not_there_is_refused_by_name():
    with pytest.raises(DatasetError, match=r"no small problems for 'gsm8k'.*'svamp'"):
        read_problems("gsm8k", "small")
    with pytest.raises(DatasetError, match="'formality' is on no hub"):
        wb.load_data("formality", source="hub")
    with pytest.raises(DatasetError, match=r"small row 1[0-9][0-9]: field 'chosen' is missing"):
        wb.load_data("preference", "test", "small")
