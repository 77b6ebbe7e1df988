"""The preset `small`: an SAE of the run's own, adapters in place of checkpoints, conversations."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from workbench.errors import ModelError
from workbench.hub import place_of
from workbench.models.forward_state import forward_digest
from workbench.papers.fpo import paper, presets, study, tables
from workbench.papers.fpo.evaluate import evaluate
from workbench.papers.fpo.train import conditions, load_policy, train
from workbench.sae.health import stream_shift
from workbench.sae.loading import sae_digest
from workbench.sae.pooling import Constraint
from workbench.sae.training import response_activations
from workbench.training.pairs import tokenised

FEW = {
    "methods": "fpo,dpo", "alphas": "50", "k": 8, "steps": 2, "pairs": 8, "held_out": 4, "lora": 2,
    "train_sae": "64,600,1",
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(settings, inputs, work) of an embedded model in the place of the real one."""
    settings, work = presets.settings("small", **FEW), tmp_path_factory.mktemp("work")
    return settings, presets.inputs("small", settings, model_id="styles", work=work), work


def test_a_trained_sae_is_kept_and_made_again_where_it_is_damaged(toy, monkeypatch):
    settings, inputs, work = toy
    trained = []
    make = presets.train_topk
    monkeypatch.setattr(presets, "train_topk", lambda *a, **k: trained.append(1) or make(*a, **k))

    def again():
        return sae_digest(presets.inputs("small", settings, model_id="styles", work=work).sae)

    assert again() == sae_digest(inputs.sae)
    assert not trained
    (folder,) = work.glob("sae-*")
    assert {p.name for p in folder.iterdir()} == {
        "cfg.json", "sae_weights.safetensors", "sealed.json"
    }  # fmt: skip
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert again() == sae_digest(inputs.sae)
    assert len(trained) == 1


def test_an_sae_is_of_its_texts_sizes_and_place(toy, monkeypatch, tmp_path):
    read, inputs = [], toy[1]

    def texts(model, rows, *_, **__):
        read.append(rows)
        return rows

    monkeypatch.setattr(presets, "train_topk", lambda *a, **k: inputs.sae)
    monkeypatch.setattr(presets, "SAE_BATCH", 1)
    monkeypatch.setattr(
        presets, "response_activations", lambda m, rows, *a, **k: read.append(rows) or rows
    )
    monkeypatch.setattr(presets, "log", SimpleNamespace(warning=lambda *a: None))
    own = tmp_path / "own.jsonl"
    rows = [{"prompt": f"Say {i}", "chosen": "one two", "rejected": "three"} for i in range(40)]
    own.write_text("\n".join(map(json.dumps, rows)))
    for change, given in (
        ({}, {}), ({"max_length": 99}, {}), ({"pairs": 9}, {}), ({"train_sae": "64,601,1"}, {}),
        ({"train_sae": "", "hook": "blocks.1.hook_resid_pre"}, {}),
        ({}, {"pairs_path": str(own)}), ({}, {}),
    ):  # fmt: skip
        chosen = presets.settings("small", **FEW | change)
        made = presets.inputs("small", chosen, model_id="styles", work=tmp_path, **given)
        assert made.hook == change.get("hook", "blocks.1.hook_resid_post")
    assert len(read) == len(list(tmp_path.glob("sae-*"))) == 6
    assert [len(rows) for rows in read] == [68, 68, 69, 68, 68, 68]  # 60 pairs of ours besides


def test_what_is_trained_is_kept_as_an_adapter_and_is_what_was_evaluated(toy, tmp_path):
    settings, inputs, _ = toy
    before = copy.deepcopy(inputs.reference.state_dict())
    done = study.run("small", inputs, settings, [0], tmp_path, lambda name, key, make: make(),
                     force_sae=True)  # fmt: skip
    assert [t.condition.name for t in done.trained] == ["LN-DPO", "FPO α=50", "DPO"]
    assert (done.costs, done.step_ratios) == ([], [])
    assert tables.metrics(done)
    for each in done.trained:
        files = {p.name for p in each.policy.iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors", "sealed.json"} <= files
        assert "model.safetensors" not in files
    for end in done.ends:
        policy = load_policy(end.trained.policy, inputs.reference)
        assert end.diff.meta["policy"] == forward_digest(policy)
        again = evaluate(
            policy, inputs.reference, done.rows, inputs.sae, inputs.hook, Constraint(k=settings.k),
            batch=settings.per_device, pad_token_id=inputs.tokenizer.pad_token_id,
        )  # fmt: skip
        assert again.kl_rejected.min() > 0
        drift = stream_shift(policy, inputs.reference, done.rows, inputs.sae, inputs.hook)
        assert done.shifts[end.trained.condition.name] == [pytest.approx(drift, rel=1e-3)]
        for name, values in vars(end.trained.evaluation).items():
            assert (getattr(again, name) == values).all(), name
    after = inputs.reference.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_another_training_left_is_removed(toy, tmp_path):
    settings, inputs, _ = toy
    rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
    dpo = conditions(settings)[2]
    train(inputs, settings, rows, dpo, 0, tmp_path / "a", "x")
    (tmp_path / "a/left.bin").write_bytes(b"left")
    train(inputs, replace(settings, lora=0), rows, dpo, 0, tmp_path / "a", "y")
    files = {p.name for p in (tmp_path / "a").iterdir()}
    assert "model.safetensors" in files
    assert not files & {"left.bin", "adapter_config.json"}


def test_activations_are_those_of_a_whole_forward(toy):
    _, inputs, _ = toy
    rows = tokenised(inputs.test, inputs.tokenizer, 128)
    values = response_activations(inputs.reference, rows[:1], "blocks.1.hook_resid_post", 10**6)
    ids = rows[0]["prompt_ids"] + rows[0]["chosen_ids"]
    out = inputs.reference(torch.tensor([ids]), output_hidden_states=True)
    start = len(rows[0]["prompt_ids"]) - 1
    expected = out.hidden_states[2][0, max(start, 1) : -1]
    torch.testing.assert_close(values[: len(expected)], expected)


def test_a_model_with_fewer_layers_is_told_which_to_give():
    with pytest.raises(ValueError, match=r"the model has 3 layers.* -p train_sae=1024,12000,1$"):
        paper.preflight("small", {"model_id": "styles"})
    paper.preflight("small", {"model_id": "styles", "train_sae": "1024,12000,1"})
    paper.preflight("small", {"model_id": "styles", "hook": "blocks.1.hook_resid_pre"})


def test_no_model_anywhere_names_the_three_ways(monkeypatch):
    monkeypatch.setattr("workbench.hub.place_of", refuse)
    with pytest.raises(ModelError, match="WORKBENCH_SMOLLM2"):
        paper.preflight("small", {})


def refuse(*_):
    raise ModelError("Set WORKBENCH_SMOLLM2 to a folder")


def test_texts_become_conversations_where_there_is_a_template(toy, caplog):
    _, inputs, _ = toy
    assert isinstance(inputs.train[0]["chosen"], str)
    plain = presets.pairs("small", "test")
    assert (len(presets.pairs("small", "train")), len(plain)) == (60, 20)
    tokenizer = copy.deepcopy(inputs.tokenizer)
    assert presets.as_chat(plain, tokenizer) is plain
    assert "no chat template" in caplog.text
    tokenizer.chat_template = "{{ messages }}"
    chat = presets.as_chat(plain, tokenizer)
    assert chat[0]["prompt"] == [{"role": "user", "content": plain[0]["prompt"]}]
    assert chat[0]["rejected"] == [{"role": "assistant", "content": plain[0]["rejected"]}]
    assert presets.as_chat(chat, tokenizer) is chat


def test_the_real_model_trains_an_adapter_and_an_sae(tmp_path):
    try:
        place_of("smollm2")
    except ModelError as error:
        pytest.skip(str(error))
    few = {"methods": "fpo", "steps": 1, "batch": 1, "pairs": 2, "held_out": 1,
           "train_sae": "64,512,2"}  # fmt: skip
    settings = presets.settings("small", **FEW | few)
    inputs = presets.inputs("small", settings, work=tmp_path)
    assert inputs.hook == "blocks.2.hook_resid_post"
    rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
    assert inputs.tokenizer.decode(rows[0]["prompt_ids"]).endswith("<|im_start|>assistant\n")
    train(inputs, settings, rows, conditions(settings)[1], 0, tmp_path / "policy", "x")
    size = sum(path.stat().st_size for path in (tmp_path / "policy").iterdir())
    assert size < 10e6
    policy = load_policy(tmp_path / "policy", inputs.reference)
    moved = [n for n, w in policy.named_parameters()
             if not torch.equal(w, inputs.reference.get_parameter(n))]  # fmt: skip
    assert len(moved) == 7 * 30
