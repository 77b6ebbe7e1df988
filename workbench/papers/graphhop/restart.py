"""The state of a training after an epoch, whole on the disk, from which a killed one goes on."""

import logging
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workbench.errors import RunError
from workbench.reading import read_json
from workbench.training.resume import fault, seal
from workbench.writing import whole, write_json

log = logging.getLogger(__name__)

TENSORS, ABOUT = "state.safetensors", "state.json"


def keep(
    folder: Path, module: nn.Module, optimizer: Optimizer, schedule: LRScheduler, epochs: int
) -> None:
    """Write what the next epoch needs; the folder, named by its training, is replaced whole.

    Raises `WriteError` where the disk refuses.
    """
    tensors = {f"weight.{name}": value for name, value in module.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moment.{i}.{name}": value for name, value in moments.items()}
    with whole(folder) as partial:
        partial.mkdir()
        save_file({name: value.contiguous().clone() for name, value in tensors.items()},
                  partial / TENSORS)  # fmt: skip
        rates = {n: v for n, v in schedule.state_dict().items() if n in ("last_epoch", "_last_lr")}
        write_json(partial / ABOUT, {"epochs": epochs, "rates": rates})
        seal(partial, folder.name)


def restored(folder: Path, module: nn.Module, optimizer: Optimizer, schedule: LRScheduler) -> int:
    """Put back what `keep` wrote; how many epochs are done: 0 where nothing whole is there."""
    if not folder.exists():
        return 0
    if wrong := fault(folder, folder.name):
        log.warning("%s: %s; the training begins anew", folder, wrong)
        return 0
    about, tensors = read_json(folder / ABOUT, RunError), load_file(folder / TENSORS)
    module.load_state_dict({n.removeprefix("weight."): value for n, value in tensors.items()
                            if n.startswith("weight.")})  # fmt: skip
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("moment."):
            _, i, moment = name.split(".")
            state.setdefault(int(i), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    schedule.load_state_dict({**schedule.state_dict(), **about["rates"]})
    for group, rate in zip(optimizer.param_groups, about["rates"]["_last_lr"], strict=True):
        group["lr"] = rate
    log.warning("%s: %d epochs are done, and not done again", folder.name, about["epochs"])
    return about["epochs"]


def remove(folder: Path) -> None:
    """Once the training is done."""
    shutil.rmtree(folder, ignore_errors=True)
