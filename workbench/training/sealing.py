"""Seals the checkpoints of a `Trainer`; apart, since to import that one takes seconds."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from workbench.training.resume import seal


class Sealing(TrainerCallback):
    """Seals each checkpoint once it is written."""

    def __init__(self, training: str) -> None:
        self.training = training

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer on every process."""
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.training)
