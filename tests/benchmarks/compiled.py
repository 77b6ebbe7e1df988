"""`python -m tests.benchmarks.compiled [--json FILE]`: what a compiled network costs.

CPU seconds of one thread: to compile each program at a window of 96 symbols, to certify it
(quick), and to answer one batch of eight inputs; and its parameters.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch

from workbench.papers.neural_comprehension.certificate import certify
from workbench.papers.neural_comprehension.gallery import GALLERY
from workbench.papers.neural_comprehension.network import compile_program
from workbench.papers.neural_comprehension.tasks import TASKS
from workbench.writing import write_json

WINDOW = 96
AT_MOST = {"compile_s": 0.5, "certify_s_of_six": 10.0}


def seconds(call: Callable[[], object], rounds: int = 3) -> float:
    """CPU seconds, the least of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measure() -> dict[str, float]:
    """Everything, by name; `compile_s`: the slowest of the paper's tasks."""
    out: dict[str, float] = {}
    for name, task in (TASKS | GALLERY).items():
        network = compile_program(task.program(WINDOW), WINDOW, name)
        size = 40 if task.anchored and name not in ("reverse", "last_letter") else 80
        inputs = [task.symbols(task.draw(random.Random(i), size)) for i in range(8)]
        out[f"parameters_{name}"] = network.num_parameters()
        out[f"compile_s_{name}"] = seconds(lambda: compile_program(task.program(WINDOW), WINDOW))  # noqa: B023
        out[f"read_s_{name}"] = seconds(lambda: network.read(inputs))  # noqa: B023
        if name in TASKS:
            out[f"certify_s_{name}"] = seconds(lambda: certify(network), 1)  # noqa: B023
    out["compile_s"] = max(out[f"compile_s_{name}"] for name in TASKS)
    out["certify_s_of_six"] = sum(out[f"certify_s_{name}"] for name in TASKS)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.compiled", description=__doc__
    )
    parser.add_argument("--json", help="write {name: number} here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    out = measure()
    for name, value in out.items():
        goal = f"   must be at most {AT_MOST[name]:g}" if name in AT_MOST else ""
        print(f"{name:<28} {value:>12.4f}{goal}")
    if given.json:
        write_json(given.json, out)


if __name__ == "__main__":
    main()
