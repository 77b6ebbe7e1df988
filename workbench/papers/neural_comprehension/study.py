"""Every input put to the model in every mode, and what the gate did and cost."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.generation.complete import complete
from workbench.generation.requests import GenRequest
from workbench.models.model import Model
from workbench.models.prompts import Prompt
from workbench.papers.neural_comprehension import costs, prompts
from workbench.papers.neural_comprehension.certificate import DTYPES, exact_limit
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.network import CoNNModel
from workbench.papers.neural_comprehension.paper import CHATS, TABLE_3, Settings
from workbench.papers.neural_comprehension.stories import calculated
from workbench.papers.neural_comprehension.tasks import TASKS, Task
from workbench.worlds.pens import Story

Keep = Callable[[str, dict[str, Any], Callable[[], Any]], Any]
"""`keep(name, key, compute)`: a step done before is not done again (`runs.cache.cached`)."""
Write = Callable[[Sequence[Prompt], Sequence[int], Gate | None], list[str]]
"""(prompts, most new tokens of each, gate) → replies."""
SLACK, CHAT = 6, 40
"""Tokens that a reply may have beyond the symbols of its input, and in a chat."""


@dataclass(frozen=True)
class Cell:
    """Inputs of one kind and size, and a reply to each in every mode.

    `kind`: a task, `"pens"`, `"coins"` or a set of problems; `size`: symbols, digits or flips.
    `read`: what a reply has to read off its input, where that is not in the prompt. `replies`: mode
    → texts; `"observed"` has those of the first inputs alone.
    """

    kind: str
    size: int
    asked: list[str]
    answers: list[str]
    replies: dict[str, list[str]]
    read: list[str] = field(default_factory=list)

    def right(self, mode: str) -> list[float]:
        """0 or 1 per reply: whether its answer is the right one."""
        return [float(self.answer(mode, i) == a) for i, a in enumerate(self.answers)]

    def answer(self, mode: str, i: int) -> str:
        """What a reply answers: where it had to read first, behind its trigger; of problems that
        may take several steps, behind the last.
        """
        reply = self.replies[mode][i]
        if mode == "program":
            return calculated(reply)
        if self.kind in CHATS.values():
            return prompts.said(reply)
        if self.kind in TASKS:
            return prompts.answer_of(reply)
        return prompts.behind(reply, 0 if self.read[i] else -1)

    def transcribed(self) -> list[float]:
        """0 or 1 per ungated reply: whether what stands before its first trigger was read right."""
        pairs = zip(self.replies["ungated"], self.read, strict=True)
        return [float(prompts.before(reply) == read.strip()) for reply, read in pairs]


@dataclass(frozen=True)
class Fit:
    """Stages of training, one after the other, on the same `stories`: stage → what makes a writer.

    `key`: all that the stages depend on.
    """

    key: dict[str, Any]
    stories: Mapping[int, Sequence[Story]]
    stages: Mapping[str, Callable[[], Write]]


@dataclass(frozen=True)
class Study:
    """Everything that was run.

    `cells`: of the tasks and of word problems. `stages`: stage of training → stories of coins.
    `disagreed`: task → of every forced token, whether the model would have written another.
    `limits`: task → dtype → symbols up to which its network is exact. `sizes`: task → parameters.
    """

    model: str
    device: str
    settings: Settings
    cells: list[Cell]
    stages: dict[str, list[Cell]]
    disagreed: dict[str, list[bool]]
    costs: costs.Costs
    limits: dict[str, dict[str, int]]
    sizes: dict[str, int]

    def of(self, kind: str) -> list[Cell]:
        """The cells of a kind, by size."""
        return [cell for cell in self.cells if cell.kind == kind]


def run(
    model: Model,
    settings: Settings,
    keep: Keep,
    words: Mapping[str, Mapping[int, Sequence[Story]]],
    fit: Fit | None = None,
) -> Study:
    """Tasks, word problems, stages of training, costs; what `keep` has is not done again.

    `words`: kind → size → word problems. `fit`: stages of training on stories of coins.

    >>> settings, model = presets.settings("tiny"), presets.model("tiny")
    >>> study = run(model, settings, partial(cached, "out/cache"), presets.words("tiny", settings))
    """
    common = {"rules": prompts.gate().fingerprint()}
    common |= {"seed": settings.seed, "new": settings.max_new_tokens}
    key = common | {"model": model.identity(), "shots": settings.shots}
    cells, disagreed = [], {}
    for task in settings.tasks:
        sizes = {"sizes": settings.sizes(task), "observed": settings.observed}
        step = keep(task, key | sizes, lambda task=task: tried(model, task, settings))
        cells += [Cell(**cell) for cell in step["cells"]]
        disagreed[task] = step["disagreed"]
    for kind, problems in words.items():
        given = {str(size): [s.text for s in stories] for size, stories in problems.items()}
        step = keep(kind, key | {"problems": given},
                    lambda kind=kind, problems=problems: told(engine(model), kind, problems,
                                                              settings))  # fmt: skip
        cells += [Cell(**cell) for cell in step]
    stages = {}
    for stage, writer in fit.stages.items() if fit else ():
        step = keep(f"coins-{stage}", common | fit.key, lambda writer=writer: told(
            writer(), "coins", fit.stories, replace(settings, shots=0)
        ))  # fmt: skip
        stages[stage] = [Cell(**cell) for cell in step]
    timed = {"repeats": settings.repeats, "texts": settings.texts}
    return Study(
        model.name, str(model.input_device), settings, cells, stages, disagreed,
        costs.Costs(**keep("costs", key | timed, lambda: costs.measure(model, settings))),
        keep("limits", {"rules": common["rules"]}, limits),
        {task: network_of(task).num_parameters() for task in TASKS},
    )  # fmt: skip


def engine(model: Model) -> Write:
    """Greedy replies by our engine, each cut at the end of its line."""

    def write(asked: Sequence[Prompt], new: Sequence[int], gate: Gate | None) -> list[str]:
        requests = [
            GenRequest(prompt, max_new_tokens=most, stop=("\n",))
            for prompt, most in zip(asked, new, strict=True)
        ]
        return [result.texts[0] for result in complete(model, requests, rule=gate)]

    return write


def task_of(name: str) -> Task:
    """A task by its name, or by that which it has in a chat."""
    return TASKS[name.removesuffix("_chat")]


def network_of(task: str) -> CoNNModel:
    """The task's network at the least window that holds the published one."""
    return TASKS[task].network(TASKS[task].window(TABLE_3[task][3]))


def limits() -> dict[str, dict[str, int]]:
    """Task → dtype → symbols up to which its network is certified, at the window of that room."""
    return {name: {dtype: exact_limit(task, dtype) for dtype in DTYPES}
            for name, task in TASKS.items()}  # fmt: skip


def inputs(task: str, length: int, settings: Settings) -> list[str]:
    """The inputs of a length: of the task's own distribution, the same in every run of a seed."""
    rng = random.Random(f"{task} {length} {settings.seed}")
    return [task_of(task).draw(rng, length) for _ in range(settings.sizes(task)[1])]


def tried(model: Model, task: str, settings: Settings) -> dict[str, Any]:
    """The cells of a task as JSON, and of every token that would be forced on the inputs that are
    observed, whether the model itself would write another."""
    write, cells, chat = engine(model), [], task in CHATS.values()
    lengths, count = settings.sizes(task)
    by_length = {length: inputs(task, length, settings) for length in lengths}
    asked = [prompts.put(task, given, settings.shots) for g in by_length.values() for given in g]
    new = [length + (CHAT if chat else SLACK) for length, g in by_length.items() for _ in g]
    plain, gated = write(asked, new, None), write(asked, new, prompts.gate(chat=chat))
    observed = min(settings.observed, count)
    few = [i for i in range(len(asked)) if i % count < observed]
    gate = prompts.gate("observe", chat)
    seen = write([asked[i] for i in few], [new[i] for i in few], gate)
    gate.measure(model)
    for place, (length, given) in enumerate(by_length.items()):
        rows, few_rows = (slice(place * n, (place + 1) * n)
                          for n in (count, observed))  # fmt: skip
        replies = {"ungated": plain[rows], "gated": gated[rows], "observed": seen[few_rows]}
        answers = [task_of(task).answer(each) for each in given]
        cells.append({"kind": task, "size": length, "asked": given, "answers": answers,
                      "replies": replies})  # fmt: skip
    # A gate that looks on is asked again behind a space, for what is left of the answer.
    first = {(forced.rule, forced.asked): forced for forced in reversed(gate.log)}
    disagreed = [not agreed for forced in first.values() for agreed in forced.agreed]
    return {"cells": cells, "disagreed": disagreed}


def told(
    write: Write, kind: str, problems: Mapping[int, Sequence[Story]], settings: Settings
) -> list[dict[str, Any]]:
    """The cells of stories as JSON: ungated, gated, and computed from an expression.

    Without exemplars the expression is what an ungated reply writes before its first trigger; else
    it is asked for by exemplars of its own.
    """
    stories = [story for some in problems.values() for story in some]
    new = [settings.max_new_tokens] * len(stories)
    asked = [prompts.story_prompt(story.text, settings.shots) for story in stories]
    plain, gated = write(asked, new, None), write(asked, new, prompts.gate())
    programs = [prompts.before(reply) for reply in plain]
    if settings.shots:
        expressions = [prompts.story_prompt(s.text, settings.shots, program=True) for s in stories]
        programs = write(expressions, new, None)
    replies = {"ungated": plain, "gated": gated, "program": programs}
    cells, start = [], 0
    for size, some in problems.items():
        rows = slice(start, start := start + len(some))
        cells.append({
            "kind": kind, "size": size, "asked": [s.text for s in some],
            "answers": [s.answer for s in some], "read": [s.read for s in some],
            "replies": {mode: texts[rows] for mode, texts in replies.items()},
        })  # fmt: skip
    return cells
