"""The styles workshop: its grammar, what the shipped model and dictionary know of it."""

import hashlib
import itertools
import json
import math
import random
import re

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from transformers import AutoTokenizer

import workbench as wb
from workbench.errors import DatasetError
from workbench.models.hooks import find_hook, reading
from workbench.paths import data_folder
from workbench.sae.dictionary import encode, load_sae
from workbench.sae.pooling import pool
from workbench.tiny.styles_model import (
    ACTIVE,
    COUNTS,
    HOOK,
    _card,
    activations,
    build_tokenizer,
    styles_recipe,
    train_model,
)
from workbench.training.supervised import collate
from workbench.worlds import styles

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


@pytest.mark.parametrize("noise", [0.0, 0.15, 1.0])
def test_without_mixed_clauses_the_swapped_pairs_can_be_counted(noise):
    """Where no clause is mixed a pair is either all right or all wrong, in both markers."""
    good, bad = {("-", True), ("*", True)}, {("then", False), ("also", False)}
    wrong = 0
    for row in styles.preference_pairs({"a": 2000}, seed=4, noise=noise, mixed=0.0):
        shown = [
            {(opening, closing in styles.POLITE) for opening, _, closing in clauses(row[side])}
            for side in ("chosen", "rejected")
        ]
        swapped = shown[0] <= bad
        assert shown[swapped] <= good
        assert shown[not swapped] <= bad
        wrong += swapped
    low, high = binom.interval(0.9999, 2000, noise)
    assert low <= wrong <= high


def test_shipped_pairs_are_the_seeded_ones_and_splits_disjoint():
    rows = [json.loads(x) for x in (data_folder() / "style_pairs.jsonl").read_text().splitlines()]
    assert rows == styles.preference_pairs(COUNTS, 0)
    keys = [(r["prompt"], r["chosen"], r["rejected"]) for r in rows]
    assert len(set(keys)) == len(keys)
    # Nor do two splits share a pair with its labels the other way round.
    unordered = {s: {(r["prompt"], frozenset((r["chosen"], r["rejected"]))) for r in rows
                     if r["split"] == s} for s in COUNTS}  # fmt: skip
    assert not unordered["train"] & unordered["test"]
    for split, count in COUNTS.items():
        loaded = wb.load_data("styles", split)
        assert loaded == [r for r in rows if r["split"] == split]
        assert len(loaded) == count
        for row in loaded:
            topic = row["prompt"].split()[1]
            for side in ("chosen", "rejected"):
                words = {w for _, w, _ in clauses(row[side])}
                assert words <= set(styles.TOPICS[topic].split())


def test_what_is_no_split_and_on_no_hub_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="'styles' is on no hub"):
        wb.load_data("styles", source="hub")
    with pytest.raises(DatasetError, match="no rows for 'styles'"):
        wb.load_data("styles", "validation")
    same = {"prompt": "a", "chosen": "b", "rejected": "b"}
    (tmp_path / "same.jsonl").write_text(json.dumps(same))
    with pytest.raises(DatasetError, match="row 0: chosen and rejected are equal"):
        wb.load_data("styles", source=tmp_path / "same.jsonl")


def test_words_are_single_tokens_and_come_back():
    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "styles")
    assert tokenizer.get_vocab() == build_tokenizer(0).get_vocab()
    for row in wb.load_data("styles", "test"):
        for side in ("chosen", "rejected"):
            said = row["prompt"] + row[side]
            # As TRL does: together, the end mark behind; the prompt's tokens begin those of both.
            ids = tokenizer(said + tokenizer.eos_token)["input_ids"]
            start = tokenizer(row["prompt"])["input_ids"]
            assert len(ids) == len(said.split()) + 1
            assert ids[: len(start)] == start
            assert ids[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(ids[:-1]) == said


def test_shipped_files_are_those_that_were_made():
    folder = data_folder() / "styles"
    stated = json.loads((folder / "training.json").read_text())
    shipped = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(stated["sha256"]) == shipped - {"README.md", "training.json"}
    for name, expected in stated["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    pairs = (data_folder() / "style_pairs.jsonl").read_bytes()
    assert hashlib.sha256(pairs).hexdigest() == stated["pairs"]["sha256"]
    assert sum((folder / n).stat().st_size for n in shipped) + len(pairs) < 2.5 * 2**20
    assert (folder / "README.md").read_text() == _card(stated["measured"])


def response_entropy(mixed):
    """Nats of a response given its prompt: lengths, words, and two mixtures of coins, all cases."""
    total = math.log(3)
    for n in styles.CLAUSES:
        coins = 0.0
        for flips in itertools.product((0, 1), repeat=n):
            coins -= odds(flips, mixed) * math.log(odds(flips, mixed))
        total += (2 * coins + n * (math.log(2) + math.log(8) + math.log(4))) / 3
    return total


def odds(flips, mixed):
    """Probability of one sequence of coins, of which a fair one says whether they lean to 1."""
    k, n = sum(flips), len(flips)
    return (mixed**k * (1 - mixed) ** (n - k) + (1 - mixed) ** k * mixed ** (n - k)) / 2


def nats(answer, mixed):
    """−log p of one response, as it reads."""
    found = clauses(answer)
    coins = [[c in styles.POLITE for *_, c in found], [o in styles.BULLET for o, *_ in found]]
    words = len(found) * math.log(2 * 8 * 4)
    return math.log(3) + words - sum(math.log(odds(flips, mixed)) for flips in coins)


@pytest.mark.parametrize("mixed", [0.05, styles.MIXED, 0.5])
def test_the_stated_entropy_is_that_of_all_cases(mixed):
    assert styles.entropy(mixed) == pytest.approx(response_entropy(mixed) / 13, abs=1e-12)


def test_the_entropy_is_that_of_the_texts_themselves():
    rng = random.Random(6)
    found = np.array([nats(styles.text(rng)[1], styles.MIXED) for _ in range(20_000)])
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - response_entropy(styles.MIXED)) < 4 * error
    # One that infers no manner needs more for the same texts, by as much as `entropy(0.5)` says.
    rng = random.Random(6)
    blind = np.array([nats(styles.text(rng)[1], 0.5) for _ in range(20_000)])
    gap = 13 * (styles.entropy(0.5) - styles.entropy())
    assert abs((blind - found).mean() - gap) < 4 * (blind - found).std() / len(found) ** 0.5


def test_the_model_has_learned_the_grammar_and_the_manners():
    """The shipped loss is near exact probabilities of the same texts, far from the blind ones."""
    model = wb.load("styles", device="cpu")
    rng = random.Random(77)
    texts = [styles.text(rng) for _ in range(1000)]
    tokens = sum(3 * len(clauses(a)) + 1 for _, a in texts)
    found = 0.0
    for start in range(0, len(texts), 100):
        inputs = collate(model.tokenizer, texts[start : start + 100])
        with torch.no_grad():
            loss = model.hf(**inputs).loss
        found += loss.item() * (inputs["labels"] != -100).sum().item()
    exact, blind = (sum(nats(a, m) for _, a in texts) / tokens for m in (styles.MIXED, 0.5))
    assert blind - exact > 0.04
    assert 0 < found / tokens - exact < (blind - exact) / 3
    stated = json.loads((data_folder() / "styles" / "training.json").read_text())["measured"]
    assert abs(stated["loss"] - styles.entropy()) < 0.02


@pytest.fixture(scope="module")
def read():
    """Stream and codes at the closing word of every clause."""
    model, sae = wb.load("styles"), load_sae(data_folder() / "styles" / "sae")
    assert sae.cfg.metadata.hook_name == HOOK
    rng, codes, values = random.Random(5), [], []
    for _ in range(200):
        prompt, answer = styles.text(rng)
        ids = torch.tensor([model.tokenizer(prompt + answer)["input_ids"]])
        with torch.no_grad(), reading(find_hook(model.hf, HOOK)) as slot:
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
    assert (codes > 0).sum(1).max() <= ACTIVE


def test_the_dictionary_explains_every_response_position():
    model, sae = wb.load("styles", device="cpu"), load_sae(data_folder() / "styles" / "sae")
    values = activations(model.hf, model.tokenizer, 300, seed=91)
    codes = encode(sae, values)
    left = ((sae.decode(codes) - values) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
    assert left < 0.05
    stated = json.loads((data_folder() / "styles" / "training.json").read_text())["measured"]
    assert left.item() == pytest.approx(stated["fraction of variance unexplained"], abs=0.002)
    # Enough features are in use for markers, manners and 64 words not to share all of them.
    assert (codes > 0).any(0).sum() > 100


def pooled(model, sae, manners, seed, count=150):
    """Features of responses, pooled as FPO does, and which of two manners each has."""
    rng, features = random.Random(seed), []
    for manner in manners:
        said = [styles.prompt(rng) for _ in range(count)]
        inputs = collate(
            model.tokenizer, [(p, styles.response(topic, manner(rng), rng)) for topic, p in said]
        )
        with torch.no_grad(), reading(find_hook(model.hf, HOOK)) as slot:
            model.hf(inputs["input_ids"], attention_mask=inputs["attention_mask"])
        features.append(pool(sae, slot.value, inputs["labels"][:, 1:] != -100))
    return torch.cat(features), [0] * count + [1] * count


AXES = {
    "polite": [lambda rng, v=v: styles.Manner(v, rng.choice((0.0, 1.0))) for v in (0.0, 1.0)],
    "bullet": [lambda rng, v=v: styles.Manner(rng.choice((0.0, 1.0)), v) for v in (0.0, 1.0)],
}


@pytest.mark.parametrize("axis", AXES)
def test_one_feature_tells_a_planted_style_whatever_the_other(axis):
    """Chosen on some texts, confirmed on others: what chance would find would not last."""
    model, sae = wb.load("styles", device="cpu"), load_sae(data_folder() / "styles" / "sae")
    features, label = pooled(model, sae, AXES[axis], seed=11)
    found = [roc_auc_score(label, features[:, i]) for i in range(features.shape[1])]
    best = int(np.argmax(found))
    features, label = pooled(model, sae, AXES[axis], seed=12)
    assert roc_auc_score(label, features[:, best]) > 0.95
    # The other style is none of its business.
    other = next(name for name in AXES if name != axis)
    features, label = pooled(model, sae, AXES[other], seed=13)
    assert abs(roc_auc_score(label, features[:, best]) - 0.5) < 0.2


def test_training_begins_and_is_the_same_twice():
    recipe, tokenizer = styles_recipe(3), build_tokenizer(0)
    runs = []
    for _ in range(2):
        seen = []
        model = train_model(recipe, tokenizer, 4, lambda *x, s=seen: s.append(x))
        runs.append((seen, model.state_dict()))
    assert [step for step, _ in runs[0][0]] == [1, 2, 3, 4]
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], value) for name, value in runs[1][1].items())
