"""The paper preset on random weights of its families: it runs to its end on a CPU."""

import json
from functools import partial

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tests.helpers.families import build
from tests.helpers.nc_study import few
from workbench.papers.neural_comprehension import figures, presets, study, t5, tables
from workbench.runs.cache import cached
from workbench.tiny.symbols_model import words as word_tokenizer
from workbench.tiny.training import byte_level_tokenizer
from workbench.worlds.pens import coin_stories


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints of a Llama on characters and of a T5 on words."""
    root = tmp_path_factory.mktemp("families")
    tokenizer = byte_level_tokenizer([], ("pad", "eos"))
    llama = build("llama", tokenizer, max_position_embeddings=1024)
    llama.hf.save_pretrained(root / "llama")
    tokenizer.save_pretrained(root / "llama")
    tokenizer = word_tokenizer()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(root / "t5")
    tokenizer.save_pretrained(root / "t5")
    return root


def test_the_paper_preset_runs_to_its_end(folders, tmp_path, monkeypatch):
    rows = [{"input": "Ann has 5.", "code": "a = 5 + 3", "target": 8.0},
            {"input": "Bob has 9.", "code": "a = 9 - 3", "target": 6.0}]  # fmt: skip
    data = tmp_path / "hard.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(study, "exact_limit", lambda task, dtype: 96)
    monkeypatch.setattr(t5, "coin_stories", lambda seed: coin_stories(seed)[:70])
    settings = few(tasks=("addition", "reverse"), lengths=(2,), rows=2, shots=2, digits=(1, 8),
                   flips=(2,), stories=2, observed=1, texts=20, repeats=1, epochs=(1, 2),
                   max_new_tokens=8)  # fmt: skip
    model = presets.model("paper", str(folders / "llama"))
    words = presets.words("paper", settings, str(data))
    fit = presets.fit("paper", settings, str(folders / "t5"))
    done = study.run(model, settings, partial(cached, tmp_path / "cache"), words, fit)
    value = {m["name"]: m["value"] for m in tables.metrics(done)}
    assert value["acc_gated_addition_2"] == value["acc_gated_reverse_2"] == 1
    wanted = "solved_{}_hard_addition solved_{}_hard_subtraction reading_{}_8"
    for mode in ("ungated", "gated", "program"):
        assert {name.format(mode) for name in wanted.split()} <= set(value)
    assert "coins_gated_epoch_2_2" in value
    for figure in (figures.by_length, figures.reading, figures.coins):
        assert figure(done).data
    again = study.run(model, settings, partial(cached, tmp_path / "cache"), words,
                      presets.fit("paper", settings, str(folders / "t5")))  # fmt: skip
    assert again == done


def test_t5_is_tuned_as_published_and_tried_at_its_epochs(folders):
    model, tokenizer = t5.load(str(folders / "t5"))
    stories, losses = coin_stories(0)[:65], []
    batch = t5._batch(model, tokenizer, stories)
    assert tokenizer.decode(batch["labels"][0][: batch["labels"][0].ne(-100).sum()]).replace(
        " ", ""
    ) == (stories[0].read + "->" + stories[0].answer).replace(" ", "")
    with torch.inference_mode():
        losses.append(model(**batch).loss.item())
    epochs = []
    for epoch in t5.tuned(model, tokenizer, (2, 3), 0, stories):
        assert not model.training
        epochs.append(epoch)
        with torch.inference_mode():
            losses.append(model(**batch).loss.item())
    assert epochs == [2, 3]
    assert losses[0] > losses[1] > losses[2]


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
