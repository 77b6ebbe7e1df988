"""What a compiled network is proved to get right: in which dtypes, and up to which length (§9.4).

All small inputs, adversarial ones and random ones up to the window are answered by the network, in
both ways of attention, and by Python; some states are held beside those in float64.
"""

import copy
import random
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from itertools import islice, takewhile
from typing import Any, NamedTuple

import torch

from workbench.arguments import listed, one_of, seed_number, shown, whole
from workbench.errors import ModelError
from workbench.papers.neural_comprehension.configuration import CoNNConfig
from workbench.papers.neural_comprehension.gallery import GALLERY
from workbench.papers.neural_comprehension.network import BATCH, CoNNModel
from workbench.papers.neural_comprehension.tasks import TASKS, Task, first

DTYPES = ("float32", "bfloat16", "float16")
LEVELS = {"quick": (600, 4, 2e9), "full": (20_000, 1000, 1e15)}
"""Most exhaustive inputs, random ones per size, and multiplications for adversarial ones."""
LARGEST = 96
"""The window, in symbols, at which a task is certified where none is given."""
FIBONACCI = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)
MARGIN = 0.5
"""Least margin of what counts as right: less, and another processor may answer otherwise."""
COMPARED = 8
"""Rows of a batch whose states are held beside float64's."""


class _Case(NamedTuple):
    """One input's outcome; `given` of `length` symbols, `margin` the least of its positions."""

    given: str
    length: int
    right: bool
    margin: float
    exact: bool


def certify(
    network: CoNNModel | Task,
    level: str = "quick",
    dtypes: Sequence[str] = DTYPES,
    *,
    window: int = LARGEST,
    seed: int = 0,
) -> dict[str, Any]:
    """Try a network on what its task asks; the outcome is put into its config, and returned.

    >>> certify(task("parity"), dtypes=["bfloat16"])["dtypes"]["bfloat16"]["max_len"]
    69

    A task stands for its network of a window. `"quick"` takes a second or two; `"full"` tries every
    size, 1,000 random inputs of each. Per dtype: `max_len` (symbols, up to which all was right),
    `cases`, `exhaustive_to` (symbols, or digits of an operand), `min_margin` (of the right logit
    over the others, `MARGIN` or more), `bit_exact` (the states are float64's), `fails_at` (the
    shortest input that was wrong, or right by less; None).

    Raises `ValueError` for an unknown level or dtype, for what is no network or one whose program
    is no task, and for a window that holds none of its inputs.
    """
    one_of("level", level, tuple(LEVELS))
    dtypes = [one_of("dtype", name, DTYPES) for name in listed("dtypes", dtypes)]
    seed = seed_number(seed)
    if isinstance(network, Task):
        network = network.network(whole("window", window, 1))
    known = TASKS | GALLERY
    task = known[one_of("program", _config(network).program, tuple(known))]
    sizes, exhaustive = _sizes(task, network.config.window, level)
    exact = _cast(network, torch.float64)
    proved = {}
    for name in dtypes:
        cast, rng = _cast(network, getattr(torch, name)), random.Random(seed)
        cases = _try(cast, exact, task, list(task.small(exhaustive)))
        for size in sizes:
            cases += _try(cast, exact, task, _inputs(task, network, size, level, rng))
        shortest = min((case.length for case in cases if not case.right), default=0)
        for size in range(1, sizes[-1]) if shortest else ():
            # Where does it begin, between the sizes that were tried?
            inputs = _inputs(task, network, size, level, rng)
            shorter = [given for given in inputs if len(task.symbols(given)) < shortest]
            cases += _try(cast, exact, task, shorter)
            shortest = min(case.length for case in cases if not case.right)
        limit = shortest - 1 if shortest else max(case.length for case in cases)
        within = [case for case in cases if case.length <= limit]
        failed = [case.given for case in cases if case.length == shortest and not case.right]
        proved[name] = {
            "max_len": limit,
            "cases": len(within),
            "exhaustive_to": exhaustive,
            "min_margin": min((case.margin for case in within), default=0.0),
            "bit_exact": all(case.exact for case in within),
            "fails_at": failed[0] if failed else None,
        }
    network.config.certificate = {
        "weights": network.digest(),
        "window": network.config.window,
        "level": level,
        "seed": seed,
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "dtypes": proved,
    }
    return network.config.certificate


def verify(network: CoNNModel) -> dict[str, Any]:
    """Certify a copy again, as its certificate says; the new one.

    Raises `ModelError` where there is none, or weights, limit or exactness are not those of it.
    """
    stored = _config(network).certificate
    if stored is None:
        raise ModelError("the network has no certificate; certify(network) makes one")
    if stored.get("weights") != network.digest():
        raise ModelError("weights or config are not those of the certificate: they were changed")
    dtypes, seed = list(stored["dtypes"]), stored["seed"]
    again = certify(copy.deepcopy(network), stored["level"], dtypes, seed=seed)
    for name, proved in again["dtypes"].items():
        for key in ("max_len", "bit_exact"):
            if proved[key] < stored["dtypes"][name][key]:
                raise ModelError(
                    f"{name}: {key} is {proved[key]} here and {stored['dtypes'][name][key]} in the "
                    "certificate; certify the network where it shall run"
                )
    return again


def _config(network: CoNNModel) -> CoNNConfig:
    if not isinstance(network, CoNNModel):
        raise ValueError(f"network={shown(network)}: it must be a compiled network, or a task")
    return network.config


def exact_limit(task: Task, dtype: str = "float32", window: int = LARGEST) -> int:
    """Symbols up to which a task's network of a window is right in a dtype (`certify`, quick)."""
    one_of("dtype", dtype, DTYPES)
    return _quick(task, window)["dtypes"][dtype]["max_len"]


@lru_cache(maxsize=32)
def _quick(task: Task, window: int) -> dict[str, Any]:
    return certify(task, window=window)


def _sizes(task: Task, window: int, level: str) -> tuple[list[int], int]:
    """The sizes that are tried, and the one up to which all inputs are."""
    rng, most = random.Random(0), LEVELS[level][0]
    largest = next(
        n for n in range(window, -1, -1) if not n or len(task.symbols(task.draw(rng, n))) <= window
    )
    if not largest:
        raise ValueError(f"window={window}: it holds no input of {task.name}")
    every = range(1, largest + 1)
    few = takewhile(lambda n: len(list(islice(task.small(n), most + 1))) <= most, every)
    tried = every if level == "full" else [n for n in FIBONACCI if n < largest] + [largest]
    return list(tried), max(few, default=1)


def _inputs(task: Task, network: CoNNModel, size: int, level: str, rng: random.Random) -> list[str]:
    """Adversarial and random inputs of a size that fit into the window."""
    _, drawn, work = LEVELS[level]
    window = network.config.window
    hard = [each for each in task.hard(size) if len(task.symbols(each)) <= window]
    most = max(COMPARED, int(work / network.num_parameters() / window))
    return (hard if len(hard) <= most else rng.sample(hard, most)) + [
        task.draw(rng, size) for _ in range(drawn)
    ]


def _cast(network: CoNNModel, dtype: torch.dtype) -> CoNNModel:
    cast = copy.deepcopy(network).to(dtype)
    cast.allow_uncertified = True
    return cast


@torch.inference_mode()
def _try(cast: CoNNModel, exact: CoNNModel, task: Task, inputs: Sequence[str]) -> list[_Case]:
    """The outcome of each input; the first `COMPARED` of each batch beside float64."""
    cases = []
    for start in range(0, len(inputs), BATCH):
        given = inputs[start : start + BATCH]
        ids = cast.encode([task.symbols(each) for each in given])
        lengths = (ids < cast.config.bos).sum(1).tolist()
        logits = cast(ids).logits
        rows = cast.decode(logits, lengths)
        best = torch.nn.functional.pad(logits[:, 1:].float(), (0, 1)).topk(2).values
        margins = torch.where(best[..., 0] > 0.5, best[..., 0] - best[..., 1], 1 - best[..., 0])
        slow = cast(ids[:COMPARED], output_attentions=True, output_hidden_states=True)
        truth = exact(ids[:COMPARED], output_hidden_states=True)
        agree = cast.decode(slow.logits, lengths[:COMPARED])
        same = (logits[:COMPARED] == truth.logits.to(logits.dtype)).all((1, 2))
        for ours, double in zip(slow.hidden_states, truth.hidden_states, strict=True):
            same &= (ours == double.to(ours.dtype)).all((1, 2))
        for i, (each, row) in enumerate(zip(given, rows, strict=True)):
            margin = float(margins[i, : lengths[i]].min())
            right = task.spelled(row) == task.answer(each) and margin >= MARGIN
            right &= task.spelled is not first or len(set(row)) == 1
            right &= i >= COMPARED or row == agree[i]
            cases.append(_Case(each, lengths[i], right, margin, i >= COMPARED or bool(same[i])))
    return cases
