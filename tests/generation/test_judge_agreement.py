"""How far a model judge agrees with people, beside the libraries' figures on the same ratings."""

import krippendorff
import numpy as np
import pytest
from scipy.stats import spearmanr

import workbench as wb
from tests.helpers.judges import Scripted, quality, says
from workbench.evaluation.intervals import bootstrap

PROMPTS = [f"request {i}" for i in range(10)]
REPLIES = [f"reply {1 + i // 2}" for i in range(10)]
RATED = {"Ann": [None, 1, 3, 2, 4, 3, 4, 5, 5, 4], "Bo": [2, 1, 2, 3, 3, 4, 3, 4, 5, 5]}
OURS = [np.nan, 1, 2, 2, 3, 3, 4, 4, 5, 5]
FILLED = np.array([list(of) for of in RATED.values()], float)


@pytest.fixture(scope="module")
def scores():
    """Those of a judge that has the replies' quality right, and nothing to say of one."""

    def answer(texts, k):
        return "" if texts[0] == "request 0" else says(quality(texts[1]))

    return wb.judge_replies(Scripted(answer), "helpfulness", PROMPTS, REPLIES)


def columns(rated):
    rows = [(r, i, who) for who, of in rated.items() for i, r in enumerate(of) if r is not None]
    return dict(
        zip(("ratings", "items", "raters"), map(list, zip(*rows, strict=True)), strict=True)
    )


def test_agreement_is_that_of_the_libraries(scores):
    people, joint, rho = scores.agreement("correctness", **columns(RATED))
    alpha = {"level_of_measurement": "ordinal"}
    assert people["value"] == pytest.approx(krippendorff.alpha(FILLED, **alpha))
    assert joint["value"] == pytest.approx(krippendorff.alpha([*FILLED, OURS], **alpha))
    scored = ~np.isnan(OURS)
    means = np.nanmean(FILLED, 0)
    assert rho["value"] == pytest.approx(spearmanr(np.array(OURS)[scored], means[scored]).statistic)
    assert (people["n"], joint["n"], rho["n"]) == (9, 9, 9)
    assert rho["ci95"][0] < rho["value"] < rho["ci95"][1]
    ours, theirs = np.array(OURS)[scored], means[scored]
    plain = bootstrap(lambda left: spearmanr(ours[left], theirs[left]).statistic, np.arange(9))
    assert rho["ci95"][0] == pytest.approx(plain[1][0])
    fewer = {"Ann": [*RATED["Ann"][:9], None], "Bo": RATED["Bo"]}
    theirs = np.nanmean(np.array([*fewer.values()], float), 0)[scored]
    *_, again = scores.agreement("correctness", **columns(fewer))
    assert again["value"] == pytest.approx(spearmanr(ours, theirs).statistic)
    label = "model judge scripted: correctness"
    assert [row["name"] for row in (people, joint, rho)] == [
        "people: correctness, alpha", f"{label}, alpha with people",
        f"{label}, Spearman's rho with people",
    ]  # fmt: skip


def test_what_is_undefined_is_left_out(scores):
    # All scores of this criterion are 3: there is no order among them.
    assert len(scores.agreement("helpfulness", **columns(RATED))) == 2
    alike = scores.agreement("helpfulness", **columns(dict.fromkeys(RATED, [3] * 10)))
    assert alike == []
    unscored = columns({"Ann": [2], "Bo": [3]})
    assert [row["n"] for row in scores.agreement("correctness", **unscored)] == [1, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"raters": ["Ann"] * 19}, "ratings with one rater"),
        ({"raters": ["Ann", "Bo"]}, "2 ids of raters for 19"),
        ({"items": [0, 1]}, "2 ids of items for 19"), ({"ratings": []}, "no ratings"),
        ({"ratings": [6] * 19}, "rating=6"), ({"ratings": [0.5] * 19}, "rating=0.5"),
        ({"ratings": [None] * 19}, "rating=None"), ({"items": [10] * 19}, "item=10"),
        ({"items": [-1] * 19}, "item=-1"), ({"items": [0] * 19}, "two ratings of an item"),
        ({"criterion": "correct"}, "criterion='correct'"), ({"ratings": "55"}, "ratings must be"),
    ],
)  # fmt: skip
def test_ratings_that_cannot_be_compared_are_refused_by_name(scores, change, match):
    with pytest.raises(ValueError, match=match):
        scores.agreement(**{"criterion": "correctness", **columns(RATED), **change})


def test_people_may_prefer_one_of_a_pair():
    def answer(texts, k):
        better = "first" if quality(texts[1]) >= quality(texts[2]) else "second"
        return f'{{"correctness": "{better}", "helpfulness": "equal"}}'

    pairs = wb.judge_replies(Scripted(answer), "helpfulness", PROMPTS, REPLIES, REPLIES[::-1])
    people = [float(i > 4) for i in range(10)]
    rated = columns({"Ann": people, "Bo": [1, *people[1:]]})
    *_, rho = pairs.agreement("correctness, preferred", **rated)
    assert rho["value"] > 0.8
