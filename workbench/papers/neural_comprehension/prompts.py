"""What a model is asked, what is read off its reply, and the gate that watches for it."""

import random
import re
from dataclasses import replace

from workbench.models.prompts import Prompt
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.paper import ARITHMETIC, CHATS
from workbench.papers.neural_comprehension.rules import asked, coin_flip_rule, task_rule
from workbench.papers.neural_comprehension.tasks import TASKS

PEN_EXEMPLARS = (
    ("Ann has 31 pens and gets 26 more. How many?", "31+26=57."),
    ("Roy has 845 hats and gives away 312. How many?", "845-312=533."),
    ("Kim has 7 books and gets 9 more. How many?", "7+9=16."),
    ("Max has 64 cards and gives away 28. How many?", "64-28=36."),
)
"""Questions of word problems with the replies that show what is to be written."""
SHOT_LENGTHS = (3, 2, 5, 1, 4, 6, 2, 3)
QUESTIONS = {
    "parity": 'It is 1 if the number of ones is odd, else 0. Answer: The parity of "..." is ...',
    "reverse": 'Spell it backwards. Answer: The reverse of "..." is ...',
}
_ANSWER = re.compile(
    r"\s*(-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?![.,]?[0-9])|[a-z]+)"
)
_SAID = re.compile(r"\bis:?\s+[\"'`*]*([0-9]+|[a-z]+)")
_TRIGGER = re.compile(r"=|->")


def gate(mode: str = "hard", chat: bool = False) -> Gate:
    """A gate of all tasks and of coin flips; in a chat, of those that are asked for in words.

    A full stop may follow an answer, as these replies are sentences.
    """
    rules = [*map(task_rule, TASKS), coin_flip_rule()]
    if chat:
        rules = [task_rule(task, trigger="is") for task in CHATS]
    return Gate([replace(rule, guard=rule.guard.strip(".,")) for rule in rules], mode)


def put(task: str, given: str, shots: int = 0) -> Prompt:
    """The prompt of one input, behind so many exemplars, a line each; of a chat its question."""
    if task in CHATS.values():
        of = next(name for name, chat in CHATS.items() if chat == task)
        return [{"role": "user", "content": f'What is the {of} of "{given}"? {QUESTIONS[of]}'}]
    rng = random.Random(f"exemplars {task}")
    lines = [TASKS[task].draw(rng, length) for length in SHOT_LENGTHS[:shots]]
    told = [f"{asked(task, line)}{replied(task, line)}\n" for line in lines]
    return "".join(told) + asked(task, given)


def replied(task: str, given: str) -> str:
    """The right reply to `rules.asked`."""
    return f"{'' if task in ARITHMETIC else ' '}{TASKS[task].answer(given)}"


def answer_of(reply: str) -> str:
    """The number, with its decimals, or word that a reply begins with; empty for none."""
    match = _ANSWER.match(reply)
    return match[1].replace(",", "") if match else ""


def said(reply: str) -> str:
    """The answer of a chat: the word or number behind its last "is"; empty for none."""
    found = _SAID.findall(reply)
    return found[-1] if found else ""


def story_prompt(text: str, shots: int = 0, program: bool = False) -> str:
    """A word problem as an embedded model knows it, or behind exemplars.

    `program`: these write the expression alone, for a calculator.
    """
    if not shots:
        return text
    told = [
        f"Q: {question}\nA: {before(reply) if program else reply}\n"
        for question, reply in PEN_EXEMPLARS[:shots]
    ]
    return "".join(told) + f"Q: {text.strip()}\nA:"


def before(reply: str) -> str:
    """What a reply has written down before its first trigger; empty where there is none."""
    match = _TRIGGER.search(reply)
    return reply[: match.start()].strip() if match else ""


def behind(reply: str, which: int = -1) -> str:
    """The answer behind a trigger, the last one or the first (0); empty where there is none."""
    _, *parts = _TRIGGER.split(reply)
    return answer_of(parts[which]) if parts else ""
