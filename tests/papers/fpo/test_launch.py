"""FPO from the command line: killed and resumed, and on two processes."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.fpo_toys import llama, preference_pairs, tokenizer, toy_sae
from workbench.papers.fpo import launch, reference_cache

OPTIONS = {
    "loss": "fpo",
    "fpo_alpha": 0.5,
    "fpo_k": 8,
    "beta": 0.5,
    "optim": "adamw_torch",
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "max_steps": 8,
    "save_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "gradient_checkpointing": "false",
    "use_cpu": "true",
    "disable_tqdm": "true",
    "seed": 5,
}


@pytest.fixture
def inputs(tmp_path):
    llama().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    toy_sae("jumprelu").save_model(tmp_path / "sae")
    pairs = preference_pairs(40)
    pairs.to_json(tmp_path / "pairs.jsonl")
    return {
        "model_name_or_path": tmp_path / "model",
        "dataset_name": tmp_path / "pairs.jsonl",
        "sae": tmp_path / "sae",
    }


def arguments(inputs, out, **more):
    options = {**OPTIONS, **inputs, "output_dir": out, **more}
    return [x for k, v in options.items() for x in (f"--{k}", str(v))]


def trained_here(inputs, out, **more):
    """The command in this process, on one thread as the others have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        launch.main(arguments(inputs, out, **more))
    finally:
        torch.set_num_threads(threads)


MODULE = ["-m", "workbench.papers.fpo.launch"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def weights(out):
    return load_file(out / "model.safetensors")


def test_a_killed_training_goes_on_bit_for_bit(tmp_path, inputs):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    trained_here(inputs, whole)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *MODULE, *arguments(inputs, killed)],
            env=ENVIRONMENT, stdout=log, stderr=log,
        )  # fmt: skip
        deadline = time.time() + 120
        # As soon as a checkpoint's last file is begun, in the middle of whatever comes next.
        while not (killed / "checkpoint-4/trainer_state.json").exists():
            assert time.time() < deadline
            assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed / "model.safetensors").exists()
    made = (killed / "ref_cache/train/meta.json").stat().st_mtime_ns
    # What a kill in the middle of a later one leaves.
    shutil.copytree(killed / "checkpoint-2", killed / "checkpoint-7")
    (killed / "checkpoint-7/trainer_state.json").write_text("")
    trained_here(inputs, killed)
    assert (killed / "ref_cache/train/meta.json").stat().st_mtime_ns == made
    first, second = weights(whole), weights(killed)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["model.norm.weight"], llama().state_dict()["model.norm.weight"])


def test_checkpoints_of_other_settings_are_not_gone_on_from(tmp_path, inputs, caplog):
    both, alone = tmp_path / "both", tmp_path / "alone"
    trained_here(inputs, both, max_steps=4)
    trained_here(inputs, both, max_steps=4, beta=5)
    assert "checkpoint-4: it is of another training" in caplog.text
    trained_here(inputs, alone, max_steps=4, beta=5)
    first, second = weights(both), weights(alone)
    assert all(torch.equal(first[k], second[k]) for k in first)
    caplog.clear()
    # Where things lie and what is logged changes no training.
    trained_here(inputs, both, max_steps=4, beta=5, logging_steps=2, save_steps=4)
    assert "it is of another training" not in caplog.text


def test_two_processes_make_the_cache_together_and_train_as_one(tmp_path, inputs):
    # All pairs at every step: the order, which depends on the number of processes, is no matter.
    one, two = tmp_path / "one", tmp_path / "two"
    sgd = {"optim": "sgd", "learning_rate": 0.05, "save_strategy": "no"}
    trained_here(inputs, one, per_device_train_batch_size=40, **sgd)
    # What `accelerate launch` starts on GPUs; on CPUs it starts several processes only through MPI.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = arguments(inputs, two, per_device_train_batch_size=20, ddp_backend="gloo", **sgd)
    done = subprocess.run(
        [*launcher, *MODULE, *words], env=ENVIRONMENT, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    alone, together = (reference_cache.read(x / "ref_cache/train", {}) for x in (one, two))
    described = ("smallest_kept_max", "smallest_kept_mean")
    for name, value in alone.meta.items():
        assert name in described or together.meta[name] == value, name
    assert torch.allclose(torch.tensor(together.logp), torch.tensor(alone.logp), atol=1e-5)
    first, second = weights(one), weights(two)
    start = llama().state_dict()
    moved = max((first[k] - start[k]).abs().max().item() for k in first)
    apart = max((first[k] - second[k]).abs().max().item() for k in first)
    assert moved > 1e-3
    assert apart < 1e-5, moved
