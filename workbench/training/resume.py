"""The checkpoint from which a killed training goes on."""

import json
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint below `folder` that was written to its end; none: `None`.

    A run killed while it writes leaves one that transformers' `get_last_checkpoint` would choose
    and `Trainer.train` cannot read. The trainer's state is what it writes last.
    """
    states = Path(folder).glob("checkpoint-[0-9]*/trainer_state.json")
    for state in sorted(states, key=lambda f: int(f.parent.name.split("-")[1]), reverse=True):
        try:
            json.loads(state.read_text(encoding="utf-8"))
        except ValueError:
            log.warning("%s was not written to its end: skipped", state.parent)
        else:
            return str(state.parent)
    return None
