"""Questions, comparisons and a study of Self-Verification written by hand."""

from dataclasses import replace

from workbench.data.problems import Problem
from workbench.papers.self_verification import tables
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.decision import Verified, decide
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.study import Comparison, Study, Variant

PROBLEM = Problem("1-0001", "sums", "Tom has 3 pens.", "How many?", "7")


def question(answers, hits):
    candidates = list(dict.fromkeys(a for a in answers if a))
    verified = Verified(PROBLEM, list(answers), ["t"] * len(answers), candidates, mode="cmv")
    verified.conditions = [Condition(8, 9, "3")] * (len(hits[0]) if hits else 0)
    verified.hits, verified.sample_tokens = hits, [2] * len(answers)
    verified.tokens = {"forward": 10, "backward": 20}
    decide(verified, Settings())
    return verified


RIGHT = question(["7", "9", "7"], [[[1, 1], [0, 1]], [[0, 0], [1, 0]]])
WRONG = question(["7", "9", "9"], [[[0, 0], [0, 1]], [[1, 0], [1, 0]]])
OTHER = replace(WRONG, problem=replace(PROBLEM, id="1-0002"))
AGREED = question(["7", "7", "7"], [])
HOPELESS = question(["8", "9", "9"], [[[1, 1], [1, 1]], [[0, 0], [0, 0]]])


def comparison(*questions):
    count = len(questions)
    right = {name: ([1.0, 0.0] * count)[:count] for name in (*tables.METHODS, "pass")}
    right["sv"] = [float(v.correct) for v in questions]
    tokens = {"greedy": 2.0, "sc": 6.0, "sc_matched": 30.0, "sv": 30.0, "sc_sv": 36.0}
    tokens = {name: [value] * count for name, value in tokens.items()}
    rows = list(questions)
    return Comparison(Settings(k=3, p=2, sc=3), rows, rows, rows, 3, right, tokens)


def study(*comparisons, **stages):
    right = [[float(v.correct) for v in c.verified] for c in comparisons]
    tokens = [[15.0] * len(c.verified) for c in comparisons]
    variants = {
        "all conditions": Variant(right, tokens),
        "first condition": Variant(right, []),
        "stopping early": Variant(right, tokens),
    }
    settings, seeds = Settings(k=3, p=2, sc=3), list(range(len(comparisons)))
    return Study("m", "cpu", "sums", settings, seeds, list(comparisons), variants, stages)
