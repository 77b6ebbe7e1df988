"""The paper preset on random weights of its families: it runs to its end on a CPU."""

import json
import re
import string
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from tests.helpers.families import build
from tests.helpers.nc_study import few
from workbench.errors import ModelError
from workbench.papers.neural_comprehension import figures, presets, study, t5, tables
from workbench.runs.cache import cached
from workbench.tiny.symbols_model import words as word_tokenizer
from workbench.tiny.training import byte_level_tokenizer
from workbench.worlds.pens import coin_stories


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints of a Llama on characters and of a T5 on pieces."""
    root = tmp_path_factory.mktemp("families")
    tokenizer = byte_level_tokenizer([], ("pad", "eos"))
    llama = build("llama", tokenizer, max_position_embeddings=1024)
    llama.hf.save_pretrained(root / "llama")
    tokenizer.save_pretrained(root / "llama")
    torch.manual_seed(0)
    t5_with(root / "t5", pieces(), d_model=32, decoder_start_token_id=0)
    return root


def pieces(signs="+="):
    """A tokenizer of T5's kind: pieces of SentencePiece, and a mark behind every text."""
    texts = [f"{s.text}{s.read} -> {s.answer}".replace(".", " ") for s in coin_stories(0)]
    words = sorted({f"\u2581{word}" for text in texts for word in text.split()})
    vocabulary = [
        "<pad>",
        "</s>",
        "<unk>",
        "\u2581",
        *words,
        *string.ascii_letters,
        *".->01",
        *signs,
    ]
    return T5Tokenizer([(piece, -float(i)) for i, piece in enumerate(vocabulary)], extra_ids=0)


def t5_with(folder, tokenizer, kind=T5ForConditionalGeneration, **changes):
    """A checkpoint of random weights."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    kind(T5Config(**{"vocab_size": 320, **sizes, **changes})).save_pretrained(folder)
    if tokenizer:
        tokenizer.save_pretrained(folder)
    return folder


def written(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_the_paper_preset_runs_to_its_end(folders, tmp_path, monkeypatch):
    data = written(tmp_path / "hard.jsonl", [
        {"input": "Ann has 5.", "code": "a = 5 + 3", "target": 8.0},
        {"input": "Bob has 9.", "code": "a = 9 - 3", "target": 6.0},
    ])  # fmt: skip
    addsub = written(tmp_path / "addsub.jsonl", [
        {"sQuestion": "Joan had 7 shells . She gave 2 away . How many are left ? ",
         "lEquations": ["X = 7 - 2"], "lSolutions": ["5"]},
    ])  # fmt: skip
    monkeypatch.setattr(study, "exact_limit", lambda task, dtype: 96)
    monkeypatch.setattr(t5, "coin_stories", lambda seed: coin_stories(seed)[:70])
    settings = few(tasks=("addition", "reverse"), lengths=(2,), rows=2, shots=2, digits=(1, 8),
                   flips=(2,), stories=2, observed=1, texts=20, repeats=1, epochs=(1, 2),
                   max_new_tokens=8)  # fmt: skip
    model = presets.model("paper", str(folders / "llama"))
    words = presets.words("paper", settings, data, addsub)

    def run(work):
        fit = presets.fit("paper", settings, work, str(folders / "t5"))
        return study.run(model, settings, partial(cached, work / "cache"), words, fit)

    done = run(tmp_path / "one")
    value = {m["name"]: m["value"] for m in tables.metrics(done)}
    assert value["acc_gated_addition_2"] == value["acc_gated_reverse_2"] == 1
    wanted = "solved_{}_hard_addition solved_{}_hard_subtraction reading_{}_8 solved_{}_addsub "
    wanted += "solved_{}_addsub_plus_8"
    for mode in ("ungated", "gated", "program"):
        assert {name.format(mode) for name in wanted.split()} <= set(value)
    assert "coins_gated_epoch_2_2" in value
    for figure in (figures.by_length, figures.reading, figures.coins):
        assert figure(done).data

    # Killed in its second stage, it tells no first one again, and ends with the same replies.
    told = study.told
    kinds = []

    def killed(write, kind, *more):
        kinds.append(kind)
        if kinds.count("coins") == 2:
            raise KeyboardInterrupt
        return told(write, kind, *more)

    monkeypatch.setattr(study, "told", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two")
    asked = len(kinds)
    again = run(tmp_path / "two")
    assert kinds[asked:] == ["coins"]
    assert again.stages == done.stages
    assert again.cells == done.cells


@pytest.fixture(scope="module")
def tune(folders):
    """`t5.tuned` on two batches an epoch, of three epochs."""
    base, tokenizer = t5.load(str(folders / "t5"))
    assert base.config.dropout_rate > 0
    return partial(t5.tuned, base, tokenizer, last=3, identity="x", stories=coin_stories(0)[:66])


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.parameters()])


@pytest.fixture
def batches(monkeypatch):
    """Sizes of the batches so far; `die` makes the one that follows so many fail."""
    make, sizes = t5._batch, SimpleNamespace(sizes=[], die=None)

    def counted(model, tokenizer, stories):
        if len(sizes.sizes) == sizes.die:
            raise KeyboardInterrupt
        sizes.sizes.append(len(stories))
        return make(model, tokenizer, stories)

    monkeypatch.setattr(t5, "_batch", counted)
    return sizes


def test_a_killed_tuning_ends_where_an_unbroken_one_does(tune, batches, tmp_path):
    before = weights(tune.args[0])
    unbroken = weights(tune(epoch=3, seed=0, folder=tmp_path / "one"))
    assert batches.sizes == [64, 2] * 3
    batches.die = 11  # in the third epoch
    with pytest.raises(KeyboardInterrupt):
        tune(epoch=3, seed=0, folder=tmp_path / "two")
    batches.die = None
    torch.manual_seed(77)
    assert torch.equal(weights(tune(epoch=3, seed=0, folder=tmp_path / "two")), unbroken)
    assert len(batches.sizes) == 11 + 2
    assert [p.name for p in (tmp_path / "two").iterdir()] == ["checkpoint-3"]
    # Asked for one by one, as stages are; the model that it begins with stays as it is.
    stages = [weights(tune(epoch=n, seed=0, folder=tmp_path / "three")) for n in (1, 2, 3)]
    assert torch.equal(stages[2], unbroken)
    assert not torch.equal(stages[0], stages[1])
    assert torch.equal(weights(tune.args[0]), before)


def test_a_checkpoint_of_another_tuning_is_not_gone_on_from(tune, batches, tmp_path):
    first = weights(tune(epoch=2, seed=0, folder=tmp_path))
    once = len(batches.sizes)
    for change in ({"seed": 1}, {"last": 4}, {"identity": "y"}, {"stories": coin_stories(1)[:66]}):
        tune(**{"epoch": 2, "seed": 0, "folder": tmp_path, **change})
        batches.sizes.clear()
        assert torch.equal(weights(tune(epoch=2, seed=0, folder=tmp_path)), first)
        assert len(batches.sizes) == once
    # Nor one that is damaged, or of a later epoch.
    (state,) = tmp_path.glob("*/state.pt")
    state.write_bytes(state.read_bytes()[:-1])
    assert torch.equal(weights(tune(epoch=2, seed=0, folder=tmp_path)), first)
    early = weights(tune(epoch=1, seed=0, folder=tmp_path))
    assert torch.equal(early, weights(tune(epoch=1, seed=0, folder=tmp_path / "new")))
    assert torch.equal(weights(tune(epoch=2, seed=0, folder=tmp_path)), first)


def test_t5_learns_what_it_is_tuned_on(tune, folders, tmp_path):
    base, tokenizer = tune.args
    stories = coin_stories(0)[:66]
    batch = t5._batch(base, tokenizer, stories)
    labels = batch["labels"][0][batch["labels"][0].ne(-100)]
    assert labels[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(labels[:-1]) == f"{stories[0].read} -> {stories[0].answer}".strip()
    losses = []
    for model in (base, *(tune(epoch=n, seed=0, folder=tmp_path) for n in (1, 3))):
        assert not model.training
        with torch.inference_mode():
            losses.append(model(**batch).loss.item())
    assert losses[0] > losses[1] > losses[2]


def test_another_tokenizer_is_another_step(folders, tmp_path, monkeypatch):
    settings, load = few(flips=(2,), stories=2), t5.load

    def other(name):
        model, tokenizer = load(name)
        tokenizer.add_tokens(["flips"])
        return model, tokenizer

    key = presets.fit("paper", settings, tmp_path, str(folders / "t5")).key
    monkeypatch.setattr(t5, "load", other)
    assert presets.fit("paper", settings, tmp_path, str(folders / "t5")).key != key


WRONG = {
    "nowhere": (lambda folder: folder, "neither a folder here nor"),
    "causal": (lambda folder: folder.parent / "llama", "'llama', and no T5 with a decoder"),
    "encoder": (lambda f: t5_with(f, word_tokenizer(), T5EncoderModel), "decoder|are missing"),
    "no tokenizer": (lambda folder: t5_with(folder, None), "without tokenizer"),
    "larger tokenizer": (
        lambda f: t5_with(f, word_tokenizer(), vocab_size=9),
        "the model embeds 9;",
    ),
    "no equals sign": (lambda folder: t5_with(folder, pieces("")), "no token that ends '='"),
    "no pad": (lambda f: t5_with(f, without_pad()), "pad token None"),
    "cut off": (lambda folder: cut(t5_with(folder, word_tokenizer())), "damaged"),
}


def without_pad():
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    return tokenizer


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_a_t5_that_cannot_be_used_says_why(case, folders):
    make, said = WRONG[case]
    folder = str(make(folders / case.replace(" ", "-")))
    with pytest.raises(ModelError, match=rf"^t5_id='?{re.escape(folder[:40])}.*({said})"):
        t5.load(folder)


def test_a_t5_as_its_config_makes_it_and_as_it_is_published_loads(folders):
    """No token to begin with in its config, a bias that old checkpoints hold and none has, and a
    tokenizer that fills rows on the left, where a decoder would take it for text.
    """
    folder, tokenizer = folders / "plain", pieces()
    tokenizer.padding_side = "left"
    t5_with(folder, tokenizer)
    place = folder / "model.safetensors"
    extra = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    save_file(load_file(place) | {extra: torch.zeros(32, 2)}, place, {"format": "pt"})
    model, tokenizer = t5.load(str(folder))
    batch = t5._batch(model, tokenizer, coin_stories(0)[:3])
    assert batch["labels"][:, 0].min() > 0 > batch["labels"][:, -1].min()
    assert model(**batch).loss > 0
    assert len(t5.writer(model, tokenizer)(["A story."], [3], None)) == 1


def test_the_gate_writes_into_t5s_replies(folders, monkeypatch):
    """Its decoder is made to write a chain; what follows the arrow is the network's."""
    model, tokenizer = t5.load(str(folders / "t5"))
    chain = tokenizer(" 1 0 1 ->", add_special_tokens=False).input_ids
    forward = model.forward

    def scripted(*args, decoder_input_ids=None, **more):
        out = forward(*args, decoder_input_ids=decoder_input_ids, **more)
        step = scripted.step = getattr(scripted, "step", -1) + 1
        token = chain[step] if step < len(chain) else 1
        out.logits[:, -1] = -1.0
        out.logits[:, -1, token] = 5.0
        return out

    monkeypatch.setattr(model, "forward", scripted)
    from workbench.papers.neural_comprehension import prompts

    gate = prompts.gate()
    (reply,) = t5.writer(model, tokenizer)(["A story."], [8], gate)
    assert prompts.behind(reply) == "0"
    assert [entry.answer for entry in gate.log] == ["0"]
