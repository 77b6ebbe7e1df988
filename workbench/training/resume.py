"""Checkpoints that are known to be whole, and of which training: what a killed one goes on from."""

import json
import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from workbench.hashing import file_digest
from workbench.writing import write_json

log = logging.getLogger(__name__)

SEAL = "sealed.json"


def seal(folder: str | Path, training: str) -> None:
    """Write down which files `folder` holds and of which `training` they are: once all are there.

    Folders in it, and the random states that other processes may still write, are left out.
    """
    files = {
        path.name: file_digest(path)
        for path in sorted(Path(folder).iterdir())
        if path.is_file() and path.name != SEAL and not path.name.startswith("rng_state")
    }
    write_json(Path(folder) / SEAL, {"training": training, "files": files})


def fault(folder: str | Path, training: str) -> str:
    """What is wrong with a folder as a checkpoint of `training`, naming the file; empty if nothing.

    Raises nothing: what cannot be read is at fault.
    """
    folder = Path(folder)
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        if sealed["training"] != training:
            return "it is of another training"
        damaged = [n for n, digest in sealed["files"].items() if file_digest(folder / n) != digest]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        return "it was not written to its end" if missing == SEAL else f"{missing} is missing"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"it cannot be read ({error})"
    return f"{damaged[0]} is damaged" if damaged else ""


def last_checkpoint(folder: str | Path, training: str) -> str | None:
    """The newest checkpoint below `folder` that is whole and of `training`; none: `None`.

    A run killed while it writes leaves one that transformers' `get_last_checkpoint` would choose
    and `Trainer.train` cannot read; one with other settings leaves one that it would go on from.
    """
    checkpoints = Path(folder).glob("checkpoint-[0-9]*/")
    for path in sorted(checkpoints, key=lambda p: int(p.name.split("-")[1]), reverse=True):
        if wrong := fault(path, training):
            log.warning("%s: %s; it is not gone on from", path, wrong)
        else:
            return str(path)
    return None


class Sealing(TrainerCallback):
    """Seals each checkpoint once it is written."""

    def __init__(self, training: str) -> None:
        self.training = training

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer on every process."""
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.training)
