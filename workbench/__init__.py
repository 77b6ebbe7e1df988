"""A notebook-first research workbench: load, capture, probe, direction, steer, generate, judge.

Heavy libraries load when a name is first used, not when the package is imported.
"""

import importlib
import time
from typing import Any

__version__ = "0.1.0"
STARTED = time.time()
"""When this process first imported the package, seconds since the epoch."""

_HOME = {
    "ANATOMIES": "models.anatomy",
    "Endpoint": "generation.endpoint",
    "ForcedText": "generation.ready_rules",
    "GenRequest": "generation.requests",
    "GenResult": "generation.requests",
    "LocalBackend": "generation.local",
    "NoEndBefore": "generation.ready_rules",
    "Replay": "generation.replay",
    "Rule": "generation.rules",
    "SampleStore": "generation.sample_store",
    "Activations": "activations.capture",
    "Anatomy": "models.anatomy",
    "HeadDirections": "steering.directions",
    "Model": "models.model",
    "Probes": "activations.probes",
    "ResidualDirection": "steering.directions",
    "all_tokens": "models.prompts",
    "capture": "activations.capture",
    "complete": "generation.complete",
    "explain": "retrieval.explain",
    "fit_probes": "activations.probes",
    "fold": "steering.fold",
    "generate": "generation.complete",
    "judge_replies": "generation.model_judge",
    "last": "models.prompts",
    "load": "models.loading",
    "load_encoder": "models.encoders",
    "load_data": "data.preferences",
    "option_logprobs": "generation.choices",
    "record": "runs.record",
    "reply_logprobs": "generation.reply_logprobs",
    "response": "models.prompts",
    "save_checkpoint": "models.checkpoints",
    "steer": "steering.steer",
}
_MODULES = {"ui": "widgets.ui"}
__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"workbench.{_MODULES[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"workbench.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
