"""Tables of Self-Verification against counts made by hand, and a study's own bookkeeping."""

from dataclasses import replace

import numpy as np
import pytest

import workbench as wb
from workbench.data.problems import Problem, read_problems
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification import tables
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.decision import Verified, decide
from workbench.papers.self_verification.paper import BENCHMARK, PUBLISHED, Settings, published
from workbench.papers.self_verification.study import Study, fewer, run, share_right, voted

PROBLEM = Problem("1-0001", "sums", "Tom has 3 pens.", "How many?", "7")


def verified(answers, hits, gold="7", tokens=(10, 20), name="1-0001"):
    problem = replace(PROBLEM, answer=gold, id=name)
    candidates = list(dict.fromkeys(a for a in answers if a))
    one = Verified(problem, list(answers), ["t"] * len(answers), candidates, mode="cmv")
    one.conditions = [Condition(8, 9, "3")] * (len(hits[0]) if hits else 0)
    one.hits, one.sample_tokens = hits, [2] * len(answers)
    one.tokens = {"forward": tokens[0], "backward": tokens[1]}
    decide(one, Settings())
    return one


RIGHT = verified(["7", "9", "7"], [[[1, 1], [0, 1]], [[0, 0], [1, 0]]])
WRONG = verified(["7", "9", "9"], [[[0, 0], [0, 1]], [[1, 0], [1, 0]]])
AGREED = verified(["7", "7", "7"], [])
HOPELESS = verified(["8", "9", "9"], [[[1, 1], [1, 1]], [[0, 0], [0, 0]]])


def study(*found):
    right = {name: [1.0, 0.0, 1.0, 0.0][: len(found)] for name in (*tables.METHODS, "pass")}
    right["sv"] = [float(v.correct) for v in found]
    tokens = {"greedy": 2.0, "sc": 6.0, "sc_matched": 30.0, "sv": 30.0, "sc_sv": 36.0}
    tokens = {name: [value] * len(found) for name, value in tokens.items()}
    settings = Settings(k=3, p=2, sc=3)
    return Study(settings, list(found), list(found), list(found), 3, right, tokens)


def test_picks_are_table_2_by_hand():
    row = tables.picks([study(RIGHT, WRONG, AGREED, HOPELESS)])
    # Contested with one right and one wrong candidate: the first two only.
    assert (row["contested"], row["scored"], row["distinct"]) == (2, 4, 2.0)
    assert row["random_pick"] == 0.5
    assert row["greedy_pick"] == 0.5
    assert row["sv_pick"] == 0.5
    # Scores right: 3/4 and 1/4; wrong: 1/4 and 2/4. Pairs won: 2 + (0 + half a tie).
    assert row["auroc"] == pytest.approx((2 + 0.5) / 4)
    assert (row["score_right"], row["score_wrong"]) == (0.5, 0.375)


def test_no_contested_question_leaves_counts_only():
    assert tables.picks([study(AGREED)]) == {"contested": 0, "scored": 1}


def test_recovery_splits_conditions_by_conclusion():
    first, second = tables.recovery([study(RIGHT, WRONG)])
    assert (first["family"], first["condition"], first["n right"], first["n wrong"]) == (
        "1",
        1,
        2,
        2,
    )
    assert (first["right conclusion"], first["wrong conclusion"]) == (0.5, 0.25)
    assert (second["right conclusion"], second["wrong conclusion"]) == (0.5, 0.5)


def test_fewer_samples_or_conditions_decide_anew():
    assert fewer(WRONG, Settings(), 2).answer == "9"
    assert fewer(WRONG, Settings(), 2, 1).answer == "9"
    # The first sample of each condition alone: 7 scores 0, 9 scores 2.
    assert fewer(RIGHT, Settings(), 1).scores == [1.0, 1.0]
    assert fewer(RIGHT, Settings(), 1).answer == "7"
    assert RIGHT.scores == [3, 1]


def test_votes_and_shares_by_hand():
    assert voted([RIGHT, WRONG, AGREED, HOPELESS], 1) == [1, 1, 1, 0]
    assert voted([RIGHT, WRONG, AGREED, HOPELESS], 3) == [1, 0, 1, 0]
    assert [share_right(v) for v in (RIGHT, AGREED, HOPELESS)] == [0.5, 1.0, 0.0]


def test_metrics_are_means_with_their_published_figures():
    both = [study(RIGHT), study(replace(WRONG, problem=replace(PROBLEM, id="1-0002")))]
    made = {m["name"]: m for m in tables.results(both, {}, "gsm8k")}
    assert made["acc_sv"]["value"] == 0.5
    assert made["acc_sv"]["n"] == 2
    assert made["acc_sv"]["published"] == pytest.approx(0.6514)
    assert made["acc_greedy"]["published"] == pytest.approx(0.6081)
    assert made["sv_minus_greedy"]["value"] == -0.5
    assert made["share_contested"]["value"] == 1.0
    assert made["tokens_sv"]["n"] == 2


def test_the_same_question_under_another_seed_is_no_new_evidence():
    other = replace(WRONG, problem=replace(PROBLEM, id="1-0002"))
    apart, repeated = [study(RIGHT), study(other)], [study(RIGHT, other), study(RIGHT, other)]
    assert tables.blocks(apart, [[1.0], [0.0]]) == [[1.0], [0.0]]
    assert tables.blocks(repeated, [[1.0, 0.0], [0.0, 0.0]]) == [[0.5, 0.0]]
    assert tables.comparisons(repeated)[0]["questions"] == 2
    assert {m["n"] for m in tables.results(repeated, {}, "gsm8k")} == {2}
    once, twice = (tables.comparisons([study(RIGHT, other)] * k)[0] for k in (1, 2))
    assert once == twice


def test_modes_count_every_question_once():
    fallback = replace(RIGHT, mode="tfv_fallback")
    none = verified(["", "", ""], [])
    rows = tables.modes([study(RIGHT, fallback, replace(AGREED, mode="none"))])
    rows += tables.modes([study(replace(none, mode="none"))])
    counts = {row["verified by"]: row["questions"] for row in rows}
    assert sum(counts.values()) == 4
    assert counts["masked conditions"] == 1
    assert counts["true or false, as nothing could be masked"] == 1
    assert counts["no readable answer"] == 1


def test_published_tables_hold_the_papers_own_arithmetic():
    """Mean gain over the eight datasets 2.326 points; Table 2's random pick is 1 / distinct."""
    value = {(r["model"], r["metric"], r["dataset"]): r["value"] for r in PUBLISHED}
    gains = [
        value["code-davinci-002", "acc_sv", d] - value["code-davinci-002", "acc_cot", d]
        for d in BENCHMARK
    ]
    assert np.mean(gains) == pytest.approx(2.326, abs=5e-4)
    for d in ("gsm8k", "addsub", "aqua", "multiarith", "singleeq", "svamp"):
        mean = value["code-davinci-002", "distinct", d]
        assert value["code-davinci-002", "random_pick", d] == pytest.approx(100 / mean, abs=0.2)
    assert published("acc_sc", "svamp") == (
        pytest.approx(0.8677),
        "code-davinci-002, svamp, Table 1",
    )
    assert published("acc_sv", "coin_flip") == (None, None)


def test_a_study_spends_on_voting_what_verification_cost_and_no_sample_more():
    problems = [p for p in read_problems("sums") if p.id[0] != "5"][:10]
    settings = Settings(k=3, p=2, sc=5).tiny()
    with SampleStore() as store:
        made = run(wb.load("sums", device="cpu"), problems, settings, store)
        again = run(wb.load("sums", device="cpu"), problems, settings, store)
        assert store.written == len(store)
    assert again.right == made.right
    spent = sum(sum(v.tokens.values()) for v in made.verified)
    cost = [sum(sum(v.sample_tokens[:k]) for v in made.pool) for k in range(made.matched + 1)]
    assert cost[made.matched] >= spent
    assert made.matched == settings.k or cost[made.matched - 1] < spent
    assert sum(made.tokens["sv"]) == spent
    assert sum(made.tokens["sc_matched"]) == cost[made.matched]
    curve = tables.curves(made)
    assert curve["SV"][-1] == pytest.approx((spent / 10, np.mean(made.right["sv"])))
    assert curve["SC"][-1][0] == pytest.approx(np.mean(made.tokens["sc"]))
    for name in ("first", "sc"):
        n = {"first": 1, "sc": 5}[name]
        for v, right in zip(made.pool, made.right[name], strict=True):
            counts = {a: v.answers[:n].count(a) for a in v.answers[:n] if a}
            best = max(counts, key=lambda a: counts[a]) if counts else ""
            assert right == float(best == v.problem.answer)
    for v, first in zip(made.verified, made.pool, strict=True):
        assert v.answers == first.answers[: settings.k]
    with pytest.raises(ValueError, match="no problems"):
        run(wb.load("sums", device="cpu"), [], settings, SampleStore())
