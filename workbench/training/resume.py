"""Checkpoints that are known to be whole, and of which training: what a killed one goes on from."""

import logging
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.hashing import file_digest
from workbench.reading import read_json
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
        if not (folder / SEAL).exists():
            return "it was not written to its end"
        sealed = read_json(folder / SEAL, WorkbenchError)
        if sealed["training"] != training:
            return "it is of another training"
        damaged = [n for n, digest in sealed["files"].items() if file_digest(folder / n) != digest]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (WorkbenchError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"it cannot be read ({error})"
    return f"{damaged[0]} is damaged" if damaged else ""


def last_checkpoint(folder: str | Path, training: str) -> str | None:
    """The newest checkpoint below `folder` that is whole and of `training`; none: `None`.

    A run killed while it writes leaves one that transformers' `get_last_checkpoint` would choose
    and `Trainer.train` cannot read; one with other settings leaves one that it would go on from.
    """
    steps = {p: p.name.removeprefix("checkpoint-") for p in Path(folder).glob("checkpoint-*/")}
    checkpoints = [p for p, step in steps.items() if step.isascii() and step.isdigit()]
    for path in sorted(checkpoints, key=lambda p: int(steps[p]), reverse=True):
        if wrong := fault(path, training):
            log.warning("%s: %s; it is not gone on from", path, wrong)
        else:
            return str(path)
    return None
