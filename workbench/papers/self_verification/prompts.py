"""Prompts of every stage (§2.1 to §2.3, §2.6): text for a base model, turns for a chat model."""

import random
from functools import lru_cache
from pathlib import Path

from workbench.data.problems import Problem
from workbench.errors import ContextLengthError, DatasetError
from workbench.evaluation.answers import PHRASE
from workbench.generation.requests import GenRequest, prompt_text
from workbench.models.prompts import Prompt
from workbench.papers.self_verification.conditions import MASK
from workbench.reading import read_yaml

FOLDER = Path(__file__).parent / "exemplars"
QUESTIONS = {
    "cmv": f"What is the answer of {MASK}?",
    "tfv": "Do it is correct (True or False)?",
    "yesno": "Judge whether this statement is normal (yes or no)?",
}
"""Kind of verification → the question asked of a masked or concluded statement."""
REPLY_KINDS = {"cmv": "number", "tfv": "truefalse", "yesno": "yesno"}
"""Kind of verification → kind of answer in the reply (as `extract_answer` calls it)."""
AFFIRMED = {"tfv": "true", "yesno": "yes"}
"""Kind of verification → the reply that counts as a hit."""
_EXEMPLARS = {"cmv": "backward", "tfv": "truefalse", "yesno": "yesno"}
_REWRITE = "Please change the questions and answers into a complete declarative sentences"

TASKS = {
    "gsm8k": "math", "svamp": "math", "addsub": "math", "singleeq": "math", "multiarith": "math",
    "aqua": "aqua", "commonsensqa": "commonsense", "bigbench_date": "date", "strategyqa": "yesno",
    "coin_flip": "coin", "last_letters": "letters", "object_tracking": "tracking",
}  # fmt: skip
"""dataset → task of its exemplars; a dataset without one (the sums) is asked without any."""

Exemplar = tuple[str, str]
"""(question, worked answer)."""


def verification_kind(dataset: str) -> str:
    """The paper's kind for a dataset: condition masking where there are numbers (§2.7)."""
    task = TASKS.get(dataset, "math")
    return {"commonsense": "yesno"}.get(task, "cmv" if task in ("math", "aqua", "date") else "tfv")


def exemplars(
    dataset: str, direction: str, *, shots: int = -1, seed: int = 0, equations: str = "paper"
) -> list[Exemplar]:
    """Few-shot examples of `"forward"`, `"cmv"`, `"tfv"` or `"yesno"`, in one order per seed.

    `shots` -1 is all there are. `equations="code"` sets a rationale's equations, one a line,
    between `<code>` tags as the released code does; the paper has them in a row.
    """
    if dataset not in TASKS:
        return []
    kind = _EXEMPLARS.get(direction, direction)
    path = FOLDER / f"{TASKS[dataset]}_{kind}.yaml"
    if not path.exists():
        # A kind of verification the paper does not use for this task: another task's exemplars.
        path = FOLDER / f"{'commonsense' if direction == 'yesno' else 'math'}_{kind}.yaml"
    items = []
    for item in _read(path):
        worked = _worked(item["rationale"], direction, equations)
        items.append((item["q"], f"{worked} {PHRASE} {item['answer']}."))
    random.Random(f"{seed}/{direction}").shuffle(items)
    return items if shots < 0 else items[:shots]


def question_prompt(question: str, examples: list[Exemplar], chat: bool) -> Prompt:
    """One question behind its exemplars; in a chat they are turns, and nothing stops at a newline.

    A blank line parts text exemplars, also the last one from the question, and no space ends it.
    """
    if chat:
        turns = [*examples, (question, "")]
        out = []
        for q, a in turns:
            out += [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        return out[:-1]
    shown = [f"Q: {q}\nA: {a}" for q, a in examples]
    return "\n\n".join([*shown, f"Q: {question}\nA:"])


def kind_of(mode: str) -> str:
    """Kind of verification of a mode: `"cmv"`, `"tfv"` or `"yesno"`."""
    return "tfv" if mode == "tfv_fallback" else mode


def too_long(
    error: ContextLengthError, request: GenRequest, examples: list[Exemplar]
) -> ContextLengthError:
    """The same error, with about how many exemplars would fit, where its sizes are known."""
    if not (error.limit and error.prompt_tokens and examples):
        return error
    per_token = len(prompt_text(request.prompt)) / error.prompt_tokens
    spare = (error.limit - request.max_new_tokens - error.prompt_tokens) * per_token
    fit = len(examples)
    while fit and spare < 0:
        fit -= 1
        spare += sum(map(len, examples[fit])) + len("Q: \nA: \n\n")
    return ContextLengthError(
        f"{error}. Of {len(examples)} exemplars about {fit} would fit: set shots",
        error.prompt_tokens, error.limit, error.request,
    )  # fmt: skip


def rewrite_prompt(question: str, answer: str, chat: bool) -> Prompt:
    """Ask for question and answer as one declarative sentence (§2.2)."""
    return question_prompt(f"{_REWRITE}. {question} {PHRASE} {answer}.", [], chat)


def verification_question(context: str, conclusion: str, kind: str) -> str:
    """The question put to the verifier: the statement in quotes, then what is asked of it."""
    return f'"{f"{context} {conclusion}".strip()}" {QUESTIONS[kind]}'


def answer_text(problem: Problem, candidate: str) -> str:
    """A candidate as a conclusion states it: an option's text instead of its letter."""
    if candidate in problem.labels:
        return problem.options[problem.labels.index(candidate)]
    return candidate


def _worked(rationale: str, direction: str, equations: str) -> str:
    if equations == "paper" or direction != "cmv" or ". " not in rationale:
        return rationale
    words, _, chain = rationale.rpartition(". ")
    lines = "\n".join(chain.rstrip(".").split(", "))
    return f"{words}.\n<code>\n{lines}\n</code>\n"


@lru_cache(maxsize=32)
def _read(path: Path) -> list[dict[str, str]]:
    """The items of one exemplar file; `DatasetError` naming one that lacks a part."""
    content = read_yaml(path, DatasetError)
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(items, list) or not items:
        raise DatasetError(f"{path}: no list of items")
    for i, item in enumerate(items):
        parts = item if isinstance(item, dict) else {}
        missing = [k for k in ("q", "rationale", "answer") if not isinstance(parts.get(k), str)]
        if missing:
            raise DatasetError(f"{path}: item {i} lacks {', '.join(missing)} (as text)")
    return items
