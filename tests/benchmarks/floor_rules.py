"""What a rule costs a token of decoding: one that never fires, and one that is always asked."""

import torch

import workbench as wb
from tests.benchmarks import timing
from workbench.generation.complete import complete
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest

SIZES = {"toy": (2, 4, 1), "tiny": (64, 32, 16), "100m": (8, 12, 8), "1b": (256, 64, 6)}
"""Rows, new tokens and rounds."""


class Never(wb.Rule):
    """Asked behind a token that nothing holds."""

    def triggers(self, model: wb.Model) -> list[int]:
        return [model.pad_id]

    def forced(self, model: wb.Model, rows: list) -> list:
        raise AssertionError("the trigger was met")


class Always(wb.Rule):
    """Asked about every row at every step, to leave all as it is."""

    def logits(self, model: wb.Model, rows: list, logits: torch.Tensor) -> torch.Tensor:
        return logits


def rules(name: str) -> dict[str, list[float]]:
    """Seconds with each of the two over seconds without a rule, one number a round.

    Raises `SystemExit` where a sample is another one with them.
    """
    rows, new, rounds = SIZES[name]
    model = wb.load(timing.make(name), timing.tokenizer())
    model.hf.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    requests = [GenRequest(p, 1, new, 1.0) for p in timing.prompts(rows)]
    backend, texts = LocalBackend(model), {}

    def run(label: str, rule: wb.Rule | None) -> None:
        texts[label] = [result.texts for result in complete(backend, requests, rule=rule)]

    asked = {"without": None, "never": Never(), "always": Always()}
    times = timing.interleaved(
        {label: lambda label=label, rule=rule: run(label, rule) for label, rule in asked.items()},
        rounds,
    )
    if not texts["without"] == texts["never"] == texts["always"]:
        raise SystemExit(f"{name}: a rule that changes nothing changed a sample")
    return {
        f"rule_ratio_{name}": timing.ratios(times, "never", "without"),
        f"rule_always_ratio_{name}": timing.ratios(times, "always", "without"),
    }
