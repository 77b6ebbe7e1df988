"""The embedded models of styles: their pairs, what the shipped model and SAE know."""

import hashlib
import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoTokenizer

import workbench as wb
from tests.helpers.styles import clauses, nats
from workbench.errors import DatasetError
from workbench.models.hooks import find_hook, reading
from workbench.paths import data_folder
from workbench.sae.loading import encode, load_sae
from workbench.sae.pooling import pool
from workbench.tiny.styles_model import (
    ACTIVE,
    COUNTS,
    HOOK,
    StylesRecipe,
    activations,
    build_tokenizer,
    card,
)
from workbench.tiny.training import build_model, save_rows, train
from workbench.training.supervised import collate
from workbench.worlds import styles


def test_shipped_pairs_are_the_seeded_ones_and_splits_disjoint(tmp_path):
    rows = styles.preference_pairs(COUNTS, 0)
    save_rows(tmp_path / "pairs.jsonl", rows)
    shipped = data_folder() / "style_pairs.jsonl"
    assert (tmp_path / "pairs.jsonl").read_bytes() == shipped.read_bytes()
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
    assert (folder / "README.md").read_text() == card(StylesRecipe(), stated["measured"])


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
    """SAE, stream and features at the closing word of every clause."""
    model, sae = wb.load("styles"), load_sae(data_folder() / "styles" / "sae")
    assert sae.cfg.metadata.hook_name == HOOK
    rng, features, values = random.Random(5), [], []
    for _ in range(200):
        prompt, answer = styles.text(rng)
        ids = torch.tensor([model.tokenizer(prompt + answer)["input_ids"]])
        with torch.no_grad(), reading(find_hook(model.hf, HOOK)) as slot:
            model.hf(ids)
        words = (prompt + answer).split()
        at = [i for i, w in enumerate(words) if w in (*styles.POLITE, *styles.RUDE)]
        values.append(slot.value[0, at])
        features.append(encode(sae, slot.value[0, at]))
    return sae, torch.cat(values), torch.cat(features)


def test_the_sae_explains_the_stream_with_six_features(read):
    sae, values, features = read
    left = ((sae.decode(features) - values) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
    assert left < 0.05
    assert (features > 0).sum(1).max() <= ACTIVE


def test_the_sae_explains_every_response_position():
    model, sae = wb.load("styles", device="cpu"), load_sae(data_folder() / "styles" / "sae")
    values = activations(model.hf, model.tokenizer, 300, seed=91)
    features = encode(sae, values)
    left = ((sae.decode(features) - values) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
    assert left < 0.05
    stated = json.loads((data_folder() / "styles" / "training.json").read_text())["measured"]
    assert left.item() == pytest.approx(stated["fraction of variance unexplained"], abs=0.002)
    # Enough features are in use for markers, manners and 64 words not to share all of them.
    assert (features > 0).any(0).sum() > 100


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
    recipe, tokenizer = replace(StylesRecipe(3), steps=4), build_tokenizer(0)
    runs = []
    for _ in range(2):
        model, seen = build_model(recipe, tokenizer, recipe.spread), []
        train(model, tokenizer, recipe, styles.text, lambda *x, s=seen: s.append(x))
        runs.append((seen, model.state_dict()))
    assert [step for step, _ in runs[0][0]] == [1, 2, 3, 4]
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], value) for name, value in runs[1][1].items())
