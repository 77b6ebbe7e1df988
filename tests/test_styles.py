"""The styles workshop: its grammar, what the shipped model and dictionary know of it."""

import hashlib
import itertools
import json
import math
import random
import re

import pytest
import torch
from scipy.stats import binom

import workbench as wb
from workbench.features import encode, find_hook, load_sae, reading
from workbench.paths import data_folder
from workbench.tiny import rebuild_styles, styles, train_styles
from workbench.tiny.train import collate

CLAUSE = re.compile(r" (-|\*|then|also) (\w+) (\w+)")


def clauses(answer):
    found = CLAUSE.findall(answer)
    assert "".join(f" {' '.join(f)}" for f in found) == answer
    return found


def test_every_text_is_clauses_about_its_topic():
    rng = random.Random(0)
    for _ in range(300):
        prompt, answer = styles.text(rng)
        bos, topic, first, second, colon = prompt.split()
        assert (bos, colon) == ("<bos>", ":")
        words = styles.TOPICS[topic].split()
        assert {first, second} <= set(words)
        found = clauses(answer)
        assert 3 <= len(found) <= 5
        assert all(w in words and (c in styles.POLITE) != (c in styles.RUDE) for _, w, c in found)


def test_pairs_share_a_prompt_and_one_in_seven_is_the_wrong_way_round():
    rng = random.Random(1)
    n = wrong = mixed = total = 0
    for _ in range(3000):
        pair = styles.preference_pair(rng, noise=0.0)
        assert pair["chosen"] != pair["rejected"]
        found = clauses(pair["chosen"])
        mixed += sum(c in styles.RUDE for *_, c in found)
        total += len(found)
    low, high = binom.interval(0.9999, total, styles.MIXED)
    assert low <= mixed <= high
    for row in styles.preference_pairs({"a": 2000}, seed=3):
        sides = [
            sum(c in styles.POLITE for *_, c in clauses(row[s])) / len(clauses(row[s]))
            for s in ("chosen", "rejected")
        ]
        if sides[0] != sides[1]:
            n += 1
            wrong += sides[0] < sides[1]
    # Mixed clauses hide or fake a few more.
    assert styles.NOISE - 0.03 < wrong / n < styles.NOISE + 0.08


def test_shipped_pairs_are_the_seeded_ones_and_splits_disjoint():
    rows = [json.loads(x) for x in (data_folder() / "style_pairs.jsonl").read_text().splitlines()]
    assert rows == styles.preference_pairs(rebuild_styles.COUNTS, 0)
    keys = [(r["prompt"], r["chosen"], r["rejected"]) for r in rows]
    assert len(set(keys)) == len(keys)
    loaded = wb.load_data("preference", "test", data_folder() / "style_pairs.jsonl")
    assert len(loaded) == rebuild_styles.COUNTS["test"]


def test_words_are_single_tokens_and_come_back():
    tokenizer = wb.load("styles").tokenizer
    prompt, answer = styles.text(random.Random(2))
    ids = tokenizer(prompt + answer)["input_ids"]
    assert len(ids) == len((prompt + answer).split())
    assert tokenizer.decode(ids) == prompt + answer


def test_shipped_files_are_those_of_the_card():
    folder = data_folder() / "styles"
    stated = json.loads((folder / "training.json").read_text())["sha256"]
    for name, expected in stated.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


def response_entropy():
    """Exact nats of a response given its prompt: lengths, words, and two mixtures of coins."""
    m, total = styles.MIXED, math.log(3)
    for n in styles.CLAUSES:
        coins = 0.0
        for flips in itertools.product((0, 1), repeat=n):
            k = sum(flips)
            p = 0.5 * (m**k * (1 - m) ** (n - k) + (1 - m) ** k * m ** (n - k))
            coins -= p * math.log(p)
        total += (2 * coins + n * (math.log(2) + math.log(8) + math.log(4))) / 3
    return total


def test_the_model_has_learned_the_grammar():
    model = wb.load("styles")
    rng = random.Random(77)
    nats = 0.0
    texts = [styles.text(rng) for _ in range(600)]
    for start in range(0, 600, 100):
        inputs = collate(model.tokenizer, texts[start : start + 100])
        with torch.no_grad():
            out = model.hf(**inputs).loss
        nats += out.item() * (inputs["labels"] != -100).sum().item()
    assert 0 <= nats / 600 / response_entropy() - 1 < 0.03


@pytest.fixture(scope="module")
def read():
    """Stream and codes at the closing word of every clause."""
    model, sae = wb.load("styles"), load_sae(data_folder() / "styles" / "sae")
    assert sae.cfg.metadata.hook_name == train_styles.HOOK
    rng, codes, values = random.Random(5), [], []
    for _ in range(200):
        prompt, answer = styles.text(rng)
        ids = torch.tensor([model.tokenizer(prompt + answer)["input_ids"]])
        with torch.no_grad(), reading(find_hook(model.hf, train_styles.HOOK)) as slot:
            model.hf(ids)
        words = (prompt + answer).split()
        at = [i for i, w in enumerate(words) if w in (*styles.POLITE, *styles.RUDE)]
        values.append(slot.value[0, at])
        codes.append(encode(sae, slot.value[0, at]))
    return sae, torch.cat(values), torch.cat(codes)


def test_the_dictionary_explains_the_stream_with_six_codes(read):
    sae, values, codes = read
    left = ((sae.decode(codes) - values) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
    assert left < 0.05
    assert (codes > 0).sum(1).max() <= train_styles.ACTIVE
