"""AutoCoNN (§2.7): a language model writes programs; of those that are right the smallest is taken.

What it writes is read by `program_text` and never run. The released code could keep none: its check
compared each output with the next one's target, and errors were swallowed (spec §5.1).
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.arguments import different, listed, one_of, seed_number, shown, whole
from workbench.errors import CompileBudgetError, DatasetError, NoProgramFound, WorkbenchError
from workbench.generation.complete import Completer, generate
from workbench.models.model import Model
from workbench.papers.neural_comprehension.compiler import Compiled
from workbench.papers.neural_comprehension.configuration import UNPROVED
from workbench.papers.neural_comprehension.domains import domains
from workbench.papers.neural_comprehension.language import Categorical, Node, Zip, guarded
from workbench.papers.neural_comprehension.network import CoNNModel, network_of
from workbench.papers.neural_comprehension.program_text import read_program
from workbench.papers.neural_comprehension.programs import BLANK
from workbench.papers.neural_comprehension.reference import evaluate
from workbench.papers.neural_comprehension.tasks import task as symbolic_task
from workbench.paths import data_folder
from workbench.reading import read_yaml

Writer = Completer | Callable[[str, int], Sequence[str]]
"""What writes programs: any completer, or a function of the prompt and how many."""
ASKED = ("instruction and examples", "instruction", "examples")
"""What the prompt tells of the goal (Table 5)."""
MOST_DIMENSIONS, MOST_UNITS, INPUTS = 512, 5_000, 50
"""Of a program's network; and random inputs that it is tried on."""
TEXTS = data_folder() / "autoconn.yaml"
_FENCED = re.compile(r"```(?:python)?\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Goal:
    """What a program shall do with inputs of up to `window` symbols of the `vocabulary`.

    `examples`: (input, output), a symbol per character, `_` where there is no value. `oracle`: the
    right output of any input like theirs.

    Raises `ValueError` for examples that are none, too long, or of two lengths, a vocabulary that
    is no text of different symbols, and a window that no network is exact at without a certificate.
    """

    instruction: str
    examples: Sequence[tuple[str, str]]
    vocabulary: str
    oracle: Callable[[str], str] | None = None
    window: int = 16

    def __post_init__(self) -> None:
        whole("window", self.window, 1, UNPROVED)
        for name in ("instruction", "vocabulary"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}={shown(getattr(self, name))}: it must be a text")
        different("vocabulary", list(self.vocabulary))
        for pair in listed("examples", self.examples, empty=True):
            texts = isinstance(pair, Sequence) and all(isinstance(each, str) for each in pair)
            if not texts or isinstance(pair, str) or len(pair) != 2:
                raise ValueError(f"example {shown(pair)}: it must be (input, output), two texts")
            given, out = pair
            if not 0 < len(given) == len(out) <= self.window or set(given) - set(self.vocabulary):
                raise ValueError(
                    f"example {given!r} -> {out!r}: it must have 1 to {self.window} symbols of "
                    f"{self.vocabulary!r}, and as many in its output"
                )
        if not self.examples:
            raise ValueError("a goal needs at least one example")


@dataclass(frozen=True)
class Candidate:
    """A program that a model wrote, the first check that it failed ("": none), and why.

    `layers`, and `weights` that are not zero: of its network, which is kept of a right one.
    """

    text: str
    failed: str = ""
    reason: str = ""
    layers: int = 0
    weights: int = 0
    program: Categorical | None = field(default=None, repr=False)
    network: CoNNModel | None = field(default=None, repr=False)


def auto_conn(
    writer: Writer, goal: Goal, n: int = 20, *, seed: int = 0
) -> tuple[Candidate, list[Candidate]]:
    """The best of `n` programs, and all of them as they came.

    Best has the fewest layers, then the fewest nonzero weights.

    >>> best, table = auto_conn(model, Goal("Reverse.", [("abc=", "cba_")], "abc="))
    >>> best.network.read(["ccba="])

    Raises `NoProgramFound`, which carries the table, where none passes every check.
    """
    cases = drawn(goal, seed)
    table = [judged(text, goal, cases) for text in written(writer, prompt(goal), n, seed)]
    right = [each for each in table if not each.failed]
    if not right:
        reasons = "; ".join(f"{each.failed}: {each.reason}" for each in table[:3])
        raise NoProgramFound(f"none of {len(table)} programs is right ({reasons}); ask for more, "
                             "or give another model", table)  # fmt: skip
    return min(right, key=lambda each: (each.layers, each.weights)), table


def _require_goal(goal: Goal) -> None:
    if not isinstance(goal, Goal):
        raise ValueError(f"goal={shown(goal)}: it must be a Goal")


def prompt(goal: Goal, asked: str = ASKED[0]) -> str:
    """The language, commented programs in it, and the goal: up to where its program begins."""
    _require_goal(goal)
    one_of("asked", asked, ASKED)
    lines = [goal.instruction] if "instruction" in asked else []
    if "examples" in asked:
        lines += [f"{given} -> {out}" for given, out in goal.examples]
    language = read_yaml(TEXTS, DatasetError)["language"]
    return f"{language}\n" + "".join(f"# {line}\n" for line in lines)


def written(writer: Writer, asked: str, n: int, seed: int) -> list[str]:
    """`n` programs as text, out of what a writer says (of a fenced block, what it holds).

    Raises `ValueError` for a writer that is none, or returns anything but texts.
    """
    whole("n", n, 1)
    if not callable(writer) and not isinstance(writer, str) and not hasattr(writer, "by_place"):
        raise ValueError(f"writer={shown(writer)}: it must be a completer or a function")
    if callable(writer) and not isinstance(writer, Model):
        replies = listed("what the writer returns", writer(asked, n), empty=True)
    else:
        (replies,) = generate(
            writer, [asked], n, max_new_tokens=400, temperature=0.7, stop=["\n\n"], seed=seed
        )  # fmt: skip
    if wrong := [reply for reply in replies if not isinstance(reply, str)]:
        raise ValueError(f"the writer returns {shown(wrong[0])}, which is no text")
    return [block[1] if (block := _FENCED.search(reply)) else reply for reply in replies]


def drawn(goal: Goal, seed: int) -> list[tuple[str, str | None]]:
    """Random inputs like the examples', with the oracle's outputs where there is one.

    Marks that each example holds once stay where they are, the runs between them are drawn.
    """
    _require_goal(goal)
    rng, given = random.Random(seed_number(seed)), [text for text, _ in goal.examples]
    once = {c for c in given[0] if not c.isalnum() and all(t.count(c) == 1 for t in given)}
    others = [c for c in goal.vocabulary if c not in once]
    room = max(1, (goal.window - len(once)) // (len(once) + 1))
    run = re.compile(f"[^{re.escape(''.join(once))}]+" if once else ".+")
    inputs = [
        run.sub(lambda _: "".join(rng.choices(others, k=rng.randint(1, room))), rng.choice(given))
        for _ in range(INPUTS)
    ]
    if goal.oracle is None:
        return [(given, None) for given in inputs]
    cases = list(zip(inputs, map(guarded("the goal's oracle", goal.oracle), inputs), strict=True))
    for given, out in cases:
        if not isinstance(out, str) or len(out) != len(given):
            raise ValueError(f"the goal's oracle answers {shown(out)} to {given!r}: it must be a "
                             "text of as many symbols")  # fmt: skip
    return cases


def judged(text: str, goal: Goal, cases: Sequence[tuple[str, str | None]]) -> Candidate:
    """A program as text put to every check: it is read, small, and right.

    Right on all examples; on the `drawn` inputs its network gives what it means, which is the
    oracle's.
    """
    check, layers, weights = "text", 0, 0
    try:
        program = read_program(text, goal.vocabulary, goal.window)
        check = "size"
        network = _small(program, goal.window)
        layers = len(network.layers)
        weights = sum(int(weight.count_nonzero()) for weight in network.parameters())
        for check, tried in (
            ("examples", goal.examples),
            ("random inputs", [(given, None) for given, _ in cases]),
            ("oracle", [case for case in cases if goal.oracle]),
        ):
            for reason in _wrong(program, network, tried):
                return Candidate(text, check, reason, layers, weights)
    except (WorkbenchError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        return Candidate(text, check, str(error), layers, weights)
    return Candidate(text, "", "", layers, weights, program, network)


def _small(program: Categorical, window: int) -> CoNNModel:
    """The program's network. Raises `CompileBudgetError` before anything large is made."""
    known, tables = domains(program, window)
    dimensions = sum(len(values) for node, values in known.items() if isinstance(node, Categorical))
    units = sum(len(table) for node, table in tables.items() if isinstance(node, Zip))
    if dimensions > MOST_DIMENSIONS or units > MOST_UNITS:
        raise CompileBudgetError(f"{dimensions:,} values and {units:,} combinations of them; "
                                 f"{MOST_DIMENSIONS:,} and {MOST_UNITS:,} at most")  # fmt: skip
    return network_of(Compiled(program, window))


def _wrong(
    program: Node, network: CoNNModel, cases: Sequence[tuple[str, str | None]]
) -> Iterator[str]:
    """What is wrong, case by case; without a right output the network must give the program's."""
    rows = network.read([given for given, _ in cases]) if cases else []
    for (given, right), row in zip(cases, rows, strict=True):
        meant, out = spelled(evaluate(program, given)), spelled(row)
        if right not in (None, meant):
            yield f"{given!r} gives {meant!r}, not {right!r}"
        elif meant != out:
            yield f"{given!r} is {meant!r} by the program and {out!r} by its network"


def spelled(values: Sequence[Any]) -> str:
    """The values at an input's positions as text, `_` for none."""
    return "".join(BLANK if value is None else str(value) for value in values)


def task_goal(name: str, examples: int = 5) -> Goal:
    """A symbolic task as a goal; the oracle is our own program, as the reference means it."""
    task, rng, window = symbolic_task(name), random.Random(0), 16
    program = task.program(window)
    vocabulary = "".join(task.network(window).config.vocabulary)

    def oracle(given: str) -> str:
        return spelled(evaluate(program, given))

    inputs = [task.symbols(task.draw(rng, length)) for length in range(3, 3 + examples)]
    told = read_yaml(TEXTS, DatasetError)["instructions"][name]
    return Goal(told, [(given, oracle(given)) for given in inputs], vocabulary, oracle, window)


def canned(name: str) -> Callable[[str, int], list[str]]:
    """A writer without a model: texts kept for a task, right, wrong, too large and hostile."""
    kept = read_yaml(TEXTS, DatasetError)["written"]
    texts = kept[one_of("task", name, tuple(kept))] + kept["any"]
    return lambda _, n: [texts[i % len(texts)] for i in range(n)]


def right_by_examples(
    writer: Writer, goal: Goal, n: int = 20, *, counts: Sequence[int] = (1, 2, 5), seed: int = 0
) -> list[dict[str, int]]:
    """Table 4: of `n` programs, how many so many examples accept, and how many of these are right.

    Duplicates count, as in the paper. Raises `ValueError` for more examples than the goal has.
    """
    _require_goal(goal)
    counts = [whole("counts", n, 1, len(goal.examples)) for n in listed("counts", counts)]
    cases, rows, texts = drawn(goal, seed), [], written(writer, prompt(goal), n, seed)
    for count in counts:
        accepted = _right(texts, replace(goal, examples=goal.examples[:count]), ())
        right = len(_right(accepted, goal, cases))
        rows.append({"examples": count, "accepted": len(accepted), "right": right})
    return rows


def right_by_prompt(
    writer: Writer, goal: Goal, n: int = 20, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Table 5: of `n` programs by each kind of prompt, how many are right."""
    cases, rows = drawn(goal, seed), []
    for asked in ASKED:
        texts = written(writer, prompt(goal, asked), n, seed)
        right = len(_right(texts, goal, cases))
        rows.append({"prompt": asked, "programs": len(texts), "right": right})
    return rows


def _right(texts: Sequence[str], goal: Goal, cases: Sequence[tuple[str, str | None]]) -> list[str]:
    return [text for text in texts if not judged(text, goal, cases).failed]
