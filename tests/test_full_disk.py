"""Every `save` of the library on a disk that fills up: named, and what was there is as it was."""

import multiprocessing
import resource

import pandas as pd
import pytest
import torch

import workbench as wb
from tests.helpers.feature_toys import HOOK, POLICY, REFERENCE, ROWS, SAE
from workbench.activations.capture import Activations
from workbench.errors import WorkbenchError
from workbench.models.prompts import last
from workbench.sae.card import save_concepts
from workbench.sae.diff import diff_features
from workbench.sae.pooling import Constraint

FORK = multiprocessing.get_context("fork")
ROOM = 4000
"""Bytes that a file may have: less than any of these needs."""


def directions(places=24, width=256):
    unit = torch.nn.functional.normalize(torch.randn(places, width), dim=1)
    return wb.HeadDirections(
        torch.arange(places) // 6, torch.arange(places) % 6, unit, torch.ones(places)
    )


def activations():
    values = torch.randn(64, 1, 2, 64)
    sizes = {"n_layers": 2, "n_heads": 2, "d_head": 4, "d_model": 64}
    return Activations((values,), torch.ones(64).long(), (0, 1), "resid", last(), "m", sizes)


def features(folder):
    return diff_features(POLICY, REFERENCE, ROWS, SAE, HOOK, folder, Constraint(k=5))


@pytest.fixture(scope="module")
def model():
    return wb.load("tiny")


@pytest.fixture(scope="module")
def diff(tmp_path_factory):
    return features(tmp_path_factory.mktemp("diff") / "whole")


LENS = pd.DataFrame({"up": [["a"]], "down": [["b"]]})
FILES = ("direction", "lock", "concepts")
"""Saved over what was there; the others are folders that are gone on with, or refused."""
SAVES = {
    "direction": lambda path, model, diff: directions().save(path),
    "lock": lambda path, model, diff: directions().to_safelock(path),
    "activations": lambda path, model, diff: activations().save(path),
    "checkpoint": lambda path, model, diff: wb.save_checkpoint(model, path),
    "features": lambda path, model, diff: features(path),
    "concepts": lambda path, model, diff: save_concepts(
        diff, LENS, {f"c{i}": [0] for i in range(500)}, path
    ),
}


def limited(save, args, pipe):
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
    try:
        save(*args)
        pipe.send((False, "nothing was raised"))
    except WorkbenchError as error:
        pipe.send((True, str(error)))
    except (OSError, RuntimeError, ValueError) as error:
        pipe.send((False, repr(error)))


@pytest.mark.parametrize("name", SAVES)
def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path, model, diff, name):
    path, save = tmp_path / "saved", SAVES[name]
    if name in FILES:
        save(path, model, diff)
    there = path.read_bytes() if name in FILES else b""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=limited, args=(save, (path, model, diff), theirs))
    process.start()
    known, message = ours.recv()
    process.join()
    assert known, message
    assert str(path) in message
    assert "make room" in message
    if name in FILES:
        assert path.read_bytes() == there
    elif name == "checkpoint":
        assert not path.exists()
    save(path, model, diff)
    assert path.exists()
