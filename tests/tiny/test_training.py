"""What recipes share: the tokenizer, initial weights, files that come whole or not at all."""

import json

import pytest
import torch

from workbench.hashing import file_digest
from workbench.paths import data_folder
from workbench.tiny.training import Recipe, build_model, byte_level_tokenizer, published


def test_a_tokenizer_knows_its_corpus_by_words_and_any_text_by_bytes():
    corpus = ["the gate of Mara", "the mill of Mara"]
    tokenizer = byte_level_tokenizer(corpus, ("pad", "eos"), side="right")
    for word in ("the", " gate", " mill", " of", " Mara"):
        assert len(tokenizer(word)["input_ids"]) == 1, word
    for text in ("Café 漢字 🙂 <user>x", "  two  spaces\n\ttabs"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_ids_to_tokens([0, 1]) == ["<pad>", "<eos>"]
    assert (tokenizer.bos_token, tokenizer.chat_template) == (None, None)
    assert tokenizer.padding_side == "right"


def test_a_chat_tokenizer_has_a_token_per_role_and_refuses_others():
    tokenizer = byte_level_tokenizer(["the gate"], chat=True)
    assert tokenizer.convert_ids_to_tokens(range(6)) == [
        "<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>",
    ]  # fmt: skip
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Yes?"},
    ]
    render = tokenizer.apply_chat_template
    assert render(chat, tokenize=False) == ("<bos><system>Be kind.<user>Hello.<assistant>Yes?<eos>")
    assert render(chat[:2], tokenize=False, add_generation_prompt=True) == (
        "<bos><system>Be kind.<user>Hello.<assistant>"
    )
    with pytest.raises(Exception, match="roles are system, user, assistant; got tool"):
        render([{"role": "tool", "content": ""}], tokenize=False)


def test_initial_weights_have_the_seed_the_sizes_and_the_spread():
    tokenizer = byte_level_tokenizer([])
    recipe = Recipe(seed=1, hidden=64, layers=2, heads=4, kv_heads=2, mlp=96, context=32)
    models = [build_model(recipe, tokenizer, spread) for spread in (0.02, 0.02, 0.1)]
    weights = [model.state_dict() for model in models]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    up = "model.layers.1.mlp.up_proj.weight"
    assert weights[0][up].shape == (96, 64)
    assert models[0].config.max_position_embeddings == 32
    for index, spread in ((0, 0.02), (2, 0.1)):
        assert weights[index][up].std().item() == pytest.approx(spread, rel=0.05)


def test_files_and_folders_take_their_places_together_or_not_at_all(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").write_text("old")
    (tmp_path / "rows.jsonl").write_text("old")

    def publish(fail):
        with published(tmp_path, "model", "rows.jsonl") as (model, rows):
            model.mkdir()
            (model / "new.txt").write_text("new")
            rows.write_text("new")
            if fail:
                raise KeyboardInterrupt

    def files():
        return {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}

    with pytest.raises(KeyboardInterrupt):
        publish(fail=True)
    assert files() == {"model/old.txt", "rows.jsonl"}
    assert (tmp_path / "rows.jsonl").read_text() == "old"
    publish(fail=False)
    assert files() == {"model/new.txt", "rows.jsonl"}
    assert (tmp_path / "rows.jsonl").read_text() == "new"


def test_the_shipped_weights_are_those_that_were_made():
    for name in ("survey", "sums"):
        stated = json.loads((data_folder() / name / "training.json").read_text())["sha256"]
        for model, digest in ({name: stated} if isinstance(stated, str) else stated).items():
            assert file_digest(data_folder() / model / "model.safetensors") == digest
