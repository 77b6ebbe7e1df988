"""Which checkpoint a killed training goes on from: a whole one, of the same training."""

import pytest

from tests.helpers.hostile import JSON
from workbench.training.resume import fault, last_checkpoint, seal


@pytest.fixture
def checkpoints(tmp_path):
    """Three sealed checkpoints, of steps 9, 10 and 100."""
    for step in (9, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "inner").mkdir(parents=True)
        for name in ("model.safetensors", "optimizer.pt", "trainer_state.json", "rng_state_1.pth"):
            (folder / name).write_bytes(b"weights" * step)
        seal(folder, "this")
    return tmp_path


def test_the_newest_is_gone_on_from(checkpoints):
    assert last_checkpoint(checkpoints, "this") == str(checkpoints / "checkpoint-100")
    # What other processes write when they come to it.
    (checkpoints / "checkpoint-100/rng_state_1.pth").unlink()
    (checkpoints / "checkpoint-100/rng_state_0.pth").touch()
    assert last_checkpoint(checkpoints, "this") == str(checkpoints / "checkpoint-100")
    assert last_checkpoint(checkpoints / "absent", "this") is None


def changed(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


HARMS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "changed": changed,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "sealed.json"]
)
def test_a_damaged_one_is_named_and_an_older_one_taken(checkpoints, caplog, harm, name):
    HARMS[harm](checkpoints / "checkpoint-100" / name)
    assert last_checkpoint(checkpoints, "this") == str(checkpoints / "checkpoint-10")
    assert "checkpoint-100: " in caplog.text
    assert "it is not gone on from" in caplog.text
    if name != "sealed.json" and harm != "a folder":
        assert f"{name} is {'missing' if harm == 'missing' else 'damaged'}" in caplog.text


@pytest.mark.parametrize("content", ["[]", "1", *JSON.values(), '{"training": "this"}',
                                     '{"training": "this", "files": []}'])  # fmt: skip
def test_a_seal_that_is_none(checkpoints, content):
    for step in (9, 10, 100):
        (checkpoints / f"checkpoint-{step}/sealed.json").write_text(content)
    assert last_checkpoint(checkpoints, "this") is None


def test_one_of_another_training_is_left_alone(checkpoints, caplog):
    assert last_checkpoint(checkpoints, "other") is None
    assert "checkpoint-9: it is of another training" in caplog.text
    seal(checkpoints / "checkpoint-9", "other")
    assert last_checkpoint(checkpoints, "other") == str(checkpoints / "checkpoint-9")
    assert fault(checkpoints / "checkpoint-9", "other") == ""


@pytest.mark.parametrize(
    "name", ["checkpoint-5x", "checkpoint-", "checkpoint-²", "checkpoint-9-old"]
)
def test_a_folder_that_is_no_checkpoint(checkpoints, name):
    (checkpoints / name).mkdir()
    assert last_checkpoint(checkpoints, "this") == str(checkpoints / "checkpoint-100")
