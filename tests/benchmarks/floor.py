"""`python -m tests.benchmarks.floor [--json FILE]`: what the floor of the papers must reach.

On the CPU, in CPU seconds of one thread, interleaved. On a GPU: `python -m tests.gpu`.
"""

import argparse
import logging
import os
import statistics

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch

from tests.benchmarks.floor_kills import redrawn
from tests.benchmarks.floor_replies import replies
from tests.benchmarks.floor_rules import rules
from workbench.writing import write_json

AT_MOST = {
    "redrawn_after_kill": 0, "texts_changed_after_kill": 0,
    "rule_ratio_tiny": 1.05, "rule_ratio_100m": 1.05,
    "logprob_ratio": 1.1, "logprob_memory_share": 0.1,
}  # fmt: skip


def measure() -> dict[str, float]:
    """Everything, by name; `logprob_ratio`: the worst of the shapes, the share: at 8k tokens."""
    out = redrawn() | rules("tiny") | rules("100m") | replies("tiny") | replies("100m", 3)
    medians = {k: statistics.median(v) if isinstance(v, list) else v for k, v in out.items()}
    ratios = [value for name, value in medians.items() if name.startswith("logprob_ratio_")]
    share = medians["logprob_memory_share_100m_1x8192"]
    return medians | {"logprob_ratio": max(ratios), "logprob_memory_share": share}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.floor", description=__doc__)
    parser.add_argument("--json", help="write {name: number} here")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    out = measure()
    for name, value in out.items():
        goal = f"   must be at most {AT_MOST[name]:g}" if name in AT_MOST else ""
        print(f"{name:<32} {value:>10.4f}{goal}")
    if given.json:
        write_json(given.json, out)


if __name__ == "__main__":
    main()
