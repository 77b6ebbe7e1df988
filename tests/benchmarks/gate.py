"""`python -m tests.benchmarks.gate [--json FILE] [MODEL …]`: what the gate costs a token.

Texts that ask nothing, and a sum in each row, by the embedded model and the real small one (where
it is), and on a GPU `1b`: over the same without a gate, in rounds one after the other; the parts by
themselves. On the CPU in CPU seconds of one thread.
"""

import argparse
import logging
import os
import random
import statistics

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch

import workbench as wb
from tests.benchmarks import timing
from tests.helpers.ordinary_texts import ordinary_texts
from workbench.errors import ModelError
from workbench.generation.complete import complete
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.generation.rules import RowTokens
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.processor import GateProcessor
from workbench.papers.neural_comprehension.tasks import task
from workbench.writing import write_json

SIZES = {"toy": (2, 4, 1), "tiny": (8, 64, 9), "smollm2": (8, 32, 5), "1b": (64, 64, 6)}
"""Rows, new tokens and rounds."""
AT_MOST = {
    "gate_ratio_smollm2": 1.10, "gate_idle_ratio_smollm2": 1.05, "gate_ratio_1b": 1.03,
}  # fmt: skip


def sums(count: int, digits: int = 20) -> list[str]:
    """Four-shot sums, of `digits` digits each."""
    rng, addition = random.Random(0), task("addition")
    shots = [addition.draw(rng, 3) for _ in range(4)]
    head = "".join(f"{given}={addition.answer(given)}\n" for given in shots)
    return [f"{head}{addition.draw(rng, digits)}=" for _ in range(count)]


def ratios(name: str) -> dict[str, list[float]]:
    """Seconds with a gate over seconds without, one number a round.

    Gated and ungated decode the same number of tokens. Raises `SystemExit` where the gate fires in
    an ordinary text.
    """
    rows, new, rounds = SIZES[name]
    if name in timing.SHAPES:
        model = wb.load(timing.make(name), timing.tokenizer())
    else:
        model = wb.load(name, dtype="float32")
    model.hf.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    backend, out = LocalBackend(model), {}
    for label, prompts in (("idle_", ordinary_texts()[:rows]), ("", sums(rows))):
        gate = Gate(["addition", "subtraction"])
        requests = [GenRequest(prompt, max_new_tokens=new) for prompt in prompts]
        calls = {
            "gated": lambda r=requests, gate=gate: complete(backend, r, rule=gate),
            "ungated": lambda r=requests: complete(backend, r),
        }
        times = timing.interleaved(calls, rounds)
        out[f"gate_{label}ratio_{name}"] = timing.ratios(times, "gated", "ungated")
        if (label == "") != bool(gate.log):
            raise SystemExit(f"{name}: {len(gate.log)} answers in the texts {label or 'of sums'}")
    return out | parts(model, name, rounds)


def parts(model: wb.Model, name: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of what eight gated rows take."""
    gate, addition = Gate(["addition", "subtraction"]), task("addition")
    gate.triggers(model)
    ids = [tuple(model.tokenizer(p)["input_ids"]) for p in sums(8)]
    plain = [tuple(model.tokenizer(p)["input_ids"]) for p in ordinary_texts()[:8]]
    vocabulary = GateProcessor(gate, model.tokenizer).vocabulary
    given = [p.rsplit("\n")[-1][:-1] for p in sums(8)]
    calls = {
        "triggers_of_a_batch": lambda: gate.triggers(model),
        "look_at_8_rows": lambda: gate.due(vocabulary, plain),
        "network_of_8_rows": lambda: addition.run(given),
        "answer_to_8_rows": lambda: gate.forced(model, [RowTokens(row, ()) for row in ids]),
    }
    return {
        f"gate_{part}_ms_{name}": [1000 * s for s in seconds]
        for part, seconds in timing.interleaved(calls, rounds).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gate", description=__doc__)
    parser.add_argument("models", nargs="*", default=["tiny", "smollm2"], help=", ".join(SIZES))
    parser.add_argument("--json", help="write {name: number} here")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    if timing.device().type == "cpu":
        torch.set_num_threads(1)
    out: dict[str, float] = {}
    for model in given.models:
        try:
            measured = ratios(model)
        except ModelError as error:
            print(f"{model} left out: {error}")
            continue
        for name, values in measured.items():
            out[name] = statistics.median(values)
            goal = f"   must be at most {AT_MOST[name]:g}" if name in AT_MOST else ""
            print(f"{name:<40} {out[name]:>10.4f}{goal}", flush=True)
    if given.json:
        write_json(given.json, out)


if __name__ == "__main__":
    main()
