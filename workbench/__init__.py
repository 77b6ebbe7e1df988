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
    "ANATOMIES": "anatomy",
    "Endpoint": "endpoint",
    "GenRequest": "completions",
    "GenResult": "completions",
    "LocalBackend": "local",
    "Recorded": "generation",
    "SampleStore": "store",
    "Activations": "activations",
    "Anatomy": "anatomy",
    "HeadDirections": "directions",
    "Model": "models",
    "Probes": "probes",
    "ResidualDirection": "directions",
    "all_tokens": "prompts",
    "capture": "activations",
    "complete": "generation",
    "fit_probes": "probes",
    "fold": "steering",
    "generate": "generation",
    "last": "prompts",
    "load": "models",
    "load_data": "data",
    "option_logprobs": "choices",
    "record": "runs.results",
    "response": "prompts",
    "save_checkpoint": "checkpoints",
    "steer": "steering",
    "ui": "widgets",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"workbench.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
