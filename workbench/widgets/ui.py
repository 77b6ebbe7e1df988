"""The four UIs by name; each is a widget to display, and to drive from Python."""

from typing import Any


def steering(model: Any, directions: Any, **options: Any) -> Any:
    """Before | after along a direction: `widgets.steering.Steering`."""
    from workbench.widgets.steering import Steering

    return Steering(model, directions, **options)


def safetylock(model: Any = "tiny", **options: Any) -> Any:
    """From pairs to a lock on another checkpoint: `widgets.safetylock.SafetyLock`."""
    from workbench.widgets.safetylock import SafetyLock

    return SafetyLock(model, **options)


def pas(model: Any = "survey", respondents: Any = None, **options: Any) -> Any:
    """Answers, sliders or a respondent to an aligned model: `widgets.pas.PAS`."""
    from workbench.widgets.pas import PAS

    return PAS(model, respondents, **options)


def features(feature_run: Any, sae: Any, rows: Any, tokenizer: Any, **options: Any) -> Any:
    """SAE features of a run, all and one by one: `widgets.features.Features`."""
    from workbench.widgets.features import Features

    return Features(feature_run, sae, rows, tokenizer, **options)
