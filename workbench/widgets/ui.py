"""The seven UIs by name; each is a widget to display, and to drive from Python.

`steering`: before | after along a direction. `safetylock`: from pairs to a lock on another
checkpoint. `pas`: answers, sliders or a respondent to an aligned model. `features`: SAE features of
a diff, all and one by one. `compiled`: a compiled network reads an input, step by step.
`evidence`: a graph of facts that answers a question, hop by hop. `chain_steps`: a chain
of facts, each hop beside what else might have been read, or taken by hand.
"""

import importlib
from typing import Any

_CLASSES = {
    "steering": "Steering",
    "safetylock": "SafetyLock",
    "pas": "PAS",
    "features": "Features",
    "compiled": "CompiledNetwork",
    "evidence": "EvidenceGraph",
    "chain_steps": "ChainSteps",
}
__all__ = sorted(_CLASSES)


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"there is no UI {name!r}; there are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"workbench.widgets.{name}"), _CLASSES[name])


def __dir__() -> list[str]:
    return __all__
