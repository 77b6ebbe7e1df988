"""A study's bookkeeping: fewer samples, votes, what voting may spend, resuming from the store."""

import numpy as np
import pytest

import workbench as wb
from tests.helpers.comparisons import AGREED, HOPELESS, RIGHT, WRONG
from workbench.data.problems import read_problems
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification import measures, presets, tables
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.study import (
    compare,
    fewer,
    run,
    share_right,
    voting_right,
)


def test_fewer_samples_or_conditions_decide_anew():
    assert fewer(WRONG, Settings(), 2).answer == "9"
    assert fewer(WRONG, Settings(), 2, 1).answer == "9"
    # The first sample of each condition alone: 7 scores 0, 9 scores 2.
    assert fewer(RIGHT, Settings(), 1).scores == [1.0, 1.0]
    assert fewer(RIGHT, Settings(), 1).answer == "7"
    assert RIGHT.scores == [3, 1]


def test_votes_and_shares_by_hand():
    assert voting_right([RIGHT, WRONG, AGREED, HOPELESS], 1) == [1, 1, 1, 0]
    assert voting_right([RIGHT, WRONG, AGREED, HOPELESS], 3) == [1, 0, 1, 0]
    assert [share_right(v) for v in (RIGHT, AGREED, HOPELESS)] == [0.5, 1.0, 0.0]


def test_voting_may_spend_what_verification_cost_and_no_sample_more():
    problems = [p for p in read_problems("sums") if p.id[0] != "5"][:10]
    settings = Settings(k=3, p=2, sc=5).tiny()
    with SampleStore() as store:
        made = compare(wb.load("sums", device="cpu"), problems, settings, store)
        again = compare(wb.load("sums", device="cpu"), problems, settings, store)
        assert store.written == len(store)
    assert again.right == made.right
    spent = sum(sum(v.tokens.values()) for v in made.verified)
    cost = [sum(sum(v.sample_tokens[:k]) for v in made.pool) for k in range(made.matched + 1)]
    assert cost[made.matched] >= spent
    assert made.matched == settings.k or cost[made.matched - 1] < spent
    assert sum(made.tokens["sv"]) == spent
    assert sum(made.tokens["sc_matched"]) == cost[made.matched]
    curve = measures.cost_curves(made)
    assert curve["SV"][-1] == pytest.approx((spent / 10, np.mean(made.right["sv"])))
    assert curve["SC"][-1][0] == pytest.approx(np.mean(made.tokens["sc"]))
    for name, n in (("first", 1), ("sc", 5)):
        for v, right in zip(made.pool, made.right[name], strict=True):
            counts = {a: v.answers[:n].count(a) for a in v.answers[:n] if a}
            best = max(counts, key=lambda a: counts[a]) if counts else ""
            assert right == float(best == v.problem.answer)
    for v, first in zip(made.verified, made.pool, strict=True):
        assert v.answers == first.answers[: settings.k]
    with pytest.raises(ValueError, match="no problems"):
        compare(wb.load("sums", device="cpu"), [], settings, SampleStore())


def test_a_study_of_all_stages_resumes_without_drawing(tmp_path):
    problems = presets.problems("tiny", "", "", 4, [0, 1])
    settings = presets.settings("tiny", k=3, p=2, sc=4)
    path = tmp_path / "samples.sqlite"
    runs = []
    for _ in range(2):
        model, stages = presets.model("tiny"), presets.stages("tiny", "", problems)
        runs.append(run(model, problems, settings, path, stages))
        with SampleStore(path) as store:
            assert store.written == len(store)
    made, again = runs
    assert tables.metrics(made) == tables.metrics(again)
    assert (made.model, made.device, made.dataset, made.seeds) == ("sums", "cpu", "sums", [0, 1])
    assert set(made.stages) == {"sums-early", "sums", "sums-late", presets.CONTROL}
    assert {v.problem.id[0] for c in made.stages[presets.CONTROL] for v in c.verified} == {"5"}
    assert {"all conditions", "stopping early"} <= set(made.variants)
    with pytest.raises(ValueError, match="no seeds"):
        run(presets.model("tiny"), {}, settings, path)


def test_other_stages_belong_to_the_embedded_sums_alone():
    problems = presets.problems("tiny", "", "", 4, [0])
    assert presets.stages("tiny", "sums-late", problems) == {}
    assert presets.stages("paper", "", problems) == {}
