"""A locked descendant as a checkpoint, kept where it is the one that is asked for."""

import logging
from pathlib import Path

from workbench.errors import RunError
from workbench.hashing import digest
from workbench.models.checkpoints import save_checkpoint
from workbench.models.model import Model
from workbench.papers.workers import Keep
from workbench.steering.directions import HeadDirections
from workbench.steering.fold import fold
from workbench.training.resume import SEAL, fault, seal
from workbench.writing import whole

log = logging.getLogger(__name__)


def exported(model: Model, lock: HeadDirections, alpha: float, folder: Path, keep: Keep) -> float:
    """Save the model with the lock folded in; the largest difference of a logit after loading.

    A checkpoint that is there is kept if it is of this model, lock and alpha; made again if of
    another, or damaged. Raises `RunError` where something else is in its place.
    """
    key = {**model.identity(), "lock": lock.digest(), "alpha": alpha}

    def fold_and_save() -> float:
        handle = fold(model, lock, alpha)
        try:
            with whole(folder) as partial:
                error = save_checkpoint(model, partial)
                seal(partial, digest(key))
        finally:
            handle.undo()
        return error

    if folder.exists() and not (folder / SEAL).is_file():
        raise RunError(f"{folder} is in the way: no export of a run; move it, then run again")
    error = keep("export", key, fold_and_save)
    if wrong := fault(folder, digest(key)):
        if folder.exists():
            log.warning("%s does not hold this lock (%s); it is exported again", folder, wrong)
        error = fold_and_save()
    return error
