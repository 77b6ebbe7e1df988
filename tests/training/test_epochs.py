"""A training that is killed goes on from its last epoch, and ends where an unbroken one does."""

import contextlib
import pickle

import pytest
import torch
from torch import nn

from workbench.training.epochs import STATE, epochs
from workbench.training.resume import seal


def training(count, folder=None, name="a", die=None):
    """(weights, epochs that were run) of a small regression with dropout and a schedule."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=20)
    parts, ran = {"model": model, "optimizer": optimizer, "schedule": schedule}, []

    def run(number):
        torch.manual_seed(number)
        if number == die:
            raise KeyboardInterrupt
        ran.append(number)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
            schedule.step()

    with contextlib.suppress(KeyboardInterrupt):
        epochs(count, parts, run, folder, name)
    return torch.cat([w.detach().flatten() for w in model.parameters()]), ran


def test_it_goes_on_to_the_same_weights(tmp_path):
    whole, ran = training(4)
    assert ran == [1, 2, 3, 4]
    assert not any(tmp_path.iterdir())
    _, ran = training(4, tmp_path, die=3)
    assert ran == [1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-2"]
    again, ran = training(4, tmp_path)
    assert ran == [3, 4]
    assert torch.equal(again, whole)
    again, ran = training(4, tmp_path)
    assert ran == []
    assert torch.equal(again, whole)


@pytest.mark.parametrize("case", ["another", "damaged", "later"])
def test_what_is_not_its_own_is_not_gone_on_from(tmp_path, case):
    whole, _ = training(2)
    training(3 if case == "later" else 2, tmp_path, "b" if case == "another" else "a")
    if case == "damaged":
        state = next(tmp_path.glob(f"*/{STATE}"))
        state.write_bytes(state.read_bytes()[:-1])
    again, ran = training(2, tmp_path)
    assert ran == [1, 2]
    assert torch.equal(again, whole)


def test_a_state_that_would_run_code_is_refused(tmp_path):
    """It is read as tensors and plain values alone."""
    training(1, tmp_path)
    place = tmp_path / "checkpoint-1"
    torch.save({"model": print}, place / STATE)
    seal(place, "a")
    with pytest.raises(pickle.UnpicklingError):
        training(2, tmp_path)
