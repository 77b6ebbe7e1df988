"""Epochs of a training, its state whole on the disk after each: a killed one goes on from there."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from workbench.training.resume import last_checkpoint, seal
from workbench.writing import whole

log = logging.getLogger(__name__)

STATE = "state.pt"


class Stateful(Protocol):
    """A model, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def epochs(
    count: int,
    parts: Mapping[str, Stateful],
    run: Callable[[int], None],
    folder: Path | None = None,
    training: str = "",
) -> None:
    """Call `run` with 1 to `count`; in `folder`, those that are done there are not done again.

    What an epoch draws must follow from its number. After each the states of `parts` are written to
    `<folder>/checkpoint-<number>`, and those before removed. `training`: a digest of all that they
    depend on; a checkpoint of another, a damaged or a later one is not gone on from. Raises
    `WriteError` where the disk refuses.

    >>> epochs(3, {"model": model, "optimizer": optimizer}, lambda number: ..., Path("out"), "a1b2")
    """
    done = _restored(count, parts, folder, training) if folder else 0
    for number in range(done + 1, count + 1):
        run(number)
        if folder:
            with whole(folder / f"checkpoint-{number}") as partial:
                partial.mkdir()
                states = {name: part.state_dict() for name, part in parts.items()}
                torch.save(states, partial / STATE)
                seal(partial, training)
            for older in {*folder.glob("checkpoint-*")} - {folder / f"checkpoint-{number}"}:
                shutil.rmtree(older)


def _restored(count: int, parts: Mapping[str, Stateful], folder: Path, training: str) -> int:
    place = last_checkpoint(folder, training)
    done = int(place.rpartition("-")[2]) if place else 0
    if not place or done > count:
        return 0
    states = torch.load(Path(place) / STATE, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    log.warning("%s: %d epochs are done, and not done again", folder.name, done)
    return done
