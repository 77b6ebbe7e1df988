"""`python -m tests.benchmarks.compiled [--json FILE]`: what a compiled network costs.

CPU seconds of one thread: to compile each program at a window of 96 symbols, to certify it
(quick), and to answer one batch of eight inputs; and its parameters.
"""

import argparse
import random
import time
from collections.abc import Callable
from itertools import product

import torch

from tests.benchmarks import timing
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


def wrong_pairs(name: str, below: int, dtype: str) -> int:
    """Pairs of operands below a number, all of them, that a network of sums gets wrong.

    Ids and right answers are made of tensors of whole numbers, on a GPU where there is one.
    """
    width = len(str(below - 1))
    window, signs = 2 * width + 2, {"addition": "+", "subtraction": "-"}
    network = compile_program(TASKS[name].program(window), window, name)
    network.allow_uncertified = True
    network.to(timing.device(), getattr(torch, dtype))
    config, wrong = network.config, 0
    reads = {symbol: i for i, symbol in enumerate(config.vocabulary)}
    writes = {value: i for i, value in enumerate(config.outputs)}
    digits, answers = (torch.tensor([of[str(d)] for d in range(10)], device=network.device)
                       for of in (reads, writes))  # fmt: skip
    numbers = [torch.arange(10**k if k else 0, min(10 ** (k + 1), below), device=network.device)
               for k in range(width)]  # fmt: skip
    for (m, left), (n, right) in product(enumerate(numbers, 1), repeat=2):
        every = torch.cartesian_prod(left, right)
        for a, b in (rows.unbind(1) for rows in every.split(2**16)):
            columns = [torch.full_like(a, config.bos)]
            columns += [digits[a // 10**k % 10] for k in reversed(range(m))]
            columns += [torch.full_like(a, reads[signs[name]])]
            columns += [digits[b // 10**k % 10] for k in reversed(range(n))]
            columns += [torch.full_like(a, reads["="])]
            value = a + b if name == "addition" else a - b
            size, wanted = value.abs(), []
            for k in reversed(range(m + n + 2)):
                signed = (value < 0) & (size < 10**k) & (size * 10 >= 10**k)
                blank = torch.where(signed, writes.get("-", -1), writes["_"])
                holds = (size >= 10**k) | (k == 0)
                wanted.append(torch.where(holds, answers[size // 10**k % 10], blank))
            with torch.inference_mode():
                best = network(torch.stack(columns, 1)).logits[:, 1:].float().max(-1)
            bad = (best.indices != torch.stack(wanted, 1)) | (best.values <= 0.5)
            wrong += int(bad.any(1).sum())
    return wrong


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
