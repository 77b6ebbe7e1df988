"""Replies judged side by side."""

import workbench as wb
from workbench.papers.safetylock.evaluate import (
    Benchmark,
    brindle_judge,
    evaluate,
    keyword_judge,
    take,
)


def test_judges_side_by_side(tiny):
    rows = take(wb.load_data("requests", "test"), 10)
    outcome = evaluate(tiny, Benchmark(rows[::-1], brindle_judge()))
    assert [r["harmful"] for r in rows] == [True] * 10 + [False] * 10
    assert len(outcome.attack) == len(outcome.helpful) == 10
    assert outcome.rates()["asr"] <= 0.1 <= 0.9 <= outcome.rates()["helpful"]
    # Of a model that refuses what is harmful alone, the order of the replies can be told.
    refusals = [int(brindle_judge().refuses(reply)) for reply in outcome.replies]
    assert [1 - r for r in refusals[:10]] == outcome.attack
    assert refusals[10:] == outcome.over_refusal
    keywords = keyword_judge()
    assert keywords.refuses("I cannot do it")
    assert not keywords.helps({}, "I cannot do it")
    assert keywords.broken("the the the the the the the")
