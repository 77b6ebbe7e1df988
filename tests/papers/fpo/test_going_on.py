"""What a killed or damaged training leaves: it is gone on from, or named and made again."""

import json
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.fpo_study import TRAINED
from tests.helpers.fpo_toys import llama, preference_pairs, tokenizer, toy_sae
from workbench.errors import FeatureError
from workbench.papers.fpo import study
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.paper import Settings
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.papers.fpo.training_log import Timeline
from workbench.training.resume import fault, seal


def trained(folder):
    args = FPOConfig(
        output_dir=str(folder), max_steps=3, per_device_train_batch_size=4, logging_steps=1,
        report_to="none", save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
        fpo_k=8, seed=3, use_cpu=True,
    )  # fmt: skip
    trainer = FPOTrainer(
        llama(), args=args, train_dataset=preference_pairs(), processing_class=tokenizer(),
        sae=toy_sae(),
    )  # fmt: skip
    trainer.train()
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


HARMS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["val.npy", "meta.json"])
def test_a_damaged_reference_is_named_and_made_again(tmp_path, caplog, harm, name):
    before = trained(tmp_path)
    HARMS[harm](tmp_path / "ref_cache/train" / name)
    assert torch.equal(trained(tmp_path), before)
    assert f"ref_cache/train/{name}" in caplog.text
    assert caplog.text.count("it is made again") == 1
    trained(tmp_path)
    assert caplog.text.count("it is made again") == 1


def test_parts_of_a_pass_killed_at_its_very_end_are_removed(tmp_path):
    trained(tmp_path)
    (tmp_path / "ref_cache/train.parts").mkdir()
    (tmp_path / "ref_cache/train.parts/000000.npz").touch()
    trained(tmp_path)
    assert [p.name for p in (tmp_path / "ref_cache").iterdir()] == ["train"]


def steps(folder):
    lines = (folder / "feature_timeline.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_timeline_begun_again_holds_each_step_once(tmp_path):
    trained(tmp_path)
    with (tmp_path / "feature_timeline.jsonl").open("a") as file:
        file.write('{"step": 4, "d_rej')
    trained(tmp_path)
    assert steps(tmp_path) == [1, 2, 3]


def test_a_timeline_gone_on_with_keeps_what_was_before(tmp_path):
    for begun, upto in ((1, 6), (4, 5)):  # killed after step 6, gone on from a checkpoint of step 3
        timeline = Timeline(tmp_path)
        for step in range(begun, upto + 1):
            timeline.add(torch.ones(2, 4))
            timeline.write(step)
    assert steps(tmp_path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("harm", [*HARMS, "none", "of another training"])
def test_a_damaged_policy_is_named_and_trained_again(tmp_path, monkeypatch, caplog, harm):
    made, kept = [], {}

    def train(inputs, settings, rows, condition, seed, folder, identity):
        made.append(folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        seal(folder, identity)
        held_out = {n: v.tolist() for n, v in vars(TRAINED[0].evaluation).items()}
        return {"held_out": held_out, "curves": {}, "seconds": 1.0}

    def keep(name, key, compute):
        return kept.setdefault(name, None) or kept.update({name: compute()}) or kept[name]

    monkeypatch.setattr(study, "train", train)
    settings = Settings(methods=("fpo", "dpo"), alphas=(0.0,))
    arguments = (SimpleNamespace(), settings, [0], tmp_path, keep, [], {"weights": "a"})
    study.train_all(*arguments)
    assert made == ["fpo-0-0", "dpo-0-0"]
    folder = tmp_path / "policies/dpo-0-0"
    if harm == "of another training":
        seal(folder, "other")
    elif harm != "none":
        HARMS[harm](folder / "model.safetensors")
    done = study.train_all(*arguments)
    assert made[2:] == ([] if harm == "none" else ["dpo-0-0"])
    assert ("dpo-0-0: " in caplog.text) == (harm != "none")
    assert [t.policy.name for t in done] == ["fpo-0-0", "dpo-0-0"]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert fault(folder, json.loads((folder / "sealed.json").read_text())["training"]) == ""


@pytest.mark.parametrize("left", ["nothing", "whole", "damaged"])
def test_a_damaged_feature_diff_is_named_and_made_again(tmp_path, monkeypatch, caplog, left):
    def diff_features(policy, reference, rows, sae, hook, folder, constraint, **_):
        if folder.exists() and (folder / "run.json").read_text() != "whole":
            raise FeatureError(f"{folder / 'run.json'}: cannot be read")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text("whole")
        return "diff"

    monkeypatch.setattr(study, "diff_features", diff_features)
    monkeypatch.setattr(study, "load_policy", lambda folder, reference: None)
    monkeypatch.setattr(study, "feature_table", lambda diff, sae, seed: diff)
    policy = TRAINED[2]
    folder = tmp_path / "features" / policy.policy.name
    if left != "nothing":
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(left)
        (folder / "rows-00000000.npz").touch()
    model = SimpleNamespace(eval=lambda: None)
    inputs = SimpleNamespace(
        reference=model, sae=None, hook="h", tokenizer=SimpleNamespace(pad_token_id=0)
    )
    end = study.feature_end(policy, inputs, Settings(), [], tmp_path)
    assert end.diff == "diff"
    assert ("it is made again" in caplog.text) == (left == "damaged")
    assert (folder / "rows-00000000.npz").exists() == (left == "whole")
