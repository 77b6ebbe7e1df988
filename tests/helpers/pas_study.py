"""A study worked out by hand: two people who answer four test statements."""

import numpy as np

from workbench.data.inventories import Inventory, Item
from workbench.data.keying import Keying
from workbench.data.respondents import Respondents
from workbench.papers.pas.dpo import Tuned
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.search import Searched
from workbench.papers.pas.study import Group, Study

KEYING = Keying("raw", 0.0, 0.0, 0, stated=True)
ITEMS = [
    ("A1", "A", 1, "train"), ("A2", "A", -1, "train"), ("A3", "A", 1, "test"),
    ("A4", "A", -1, "test"), ("C1", "C", 1, "train"), ("C2", "C", -1, "train"),
    ("C3", "C", 1, "test"), ("C4", "C", -1, "test"),
]  # fmt: skip
SMALL = Inventory("small", tuple(Item(i, f"say {i}", t, "f", s, p) for i, t, s, p in ITEMS))
OWN = np.array([[5, 1, 5, 1, 4, 2, 4, 2], [1, 5, 1, 5, 3, 3, 3, 0]], np.int8)


def people(values=OWN, ids=("x", "y")):
    return Respondents(SMALL, np.asarray(values, np.int8), tuple(ids), "raw", KEYING)


def subject(name, answers, validation, test, share=0.5):
    """One search on the alphas 0, 1, 2; errors as worked out in the comments below."""
    return Searched(
        id=name, mode="pas", alphas=[0.0, 1.0, 2.0], answers=answers, validation=validation,
        test=test, heads=[(0, 0)], share=share, prompts=12, seconds_fit=1.0, seconds_search=2.0,
        seconds_test=7.0,
    )  # fmt: skip


# x answers 5 1 | 4 2. In the middle: A 2, C 1. Alpha 1: A 0, C 1. Alpha 2: 0.
# y answers 1 5 | 3 -. In the middle: A 2, C 0. Alpha 1: A 1, C 0. Alpha 2: A 2, C 2.
X = subject("x", [[3] * 4, [5, 1, 3, 3], [5, 1, 4, 2]], [3, 2, 2], [3, 1, 0], 0.25)
Y = subject("y", [[3] * 4, [2, 4, 3, 3], [3, 3, 5, 5]], [1, 2, 3], [2, 1, 4], 0.75)
TUNED = Tuned("x", [3, 3, 4, 2], steps=9, pairs=4, seconds=30.0, losses=[], margins=[])
GROUP = Group(0, people(), {"pas": [X, Y]}, [TUNED])


def study(*groups):
    """Of several seeds."""
    return Study("small", Settings().tiny(), groups, 4.0)


STUDY = study(GROUP)
EVERYTHING = {
    "pas": [X, Y], "fewshot+pas": [Y, Y], "p2+pas": [X, X], "pas centered": [X, X],
    "pas weighted": [Y, Y], "pas shuffled": [Y, X],
}  # fmt: skip
