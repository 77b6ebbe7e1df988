"""What a run asks of its model, counted beforehand."""

from dataclasses import replace

import pytest

import workbench as wb
from workbench.errors import ContextLengthError
from workbench.generation.complete import backend
from workbench.generation.endpoint import Endpoint
from workbench.papers.estimate import spelled
from workbench.papers.self_verification import calls, presets, study
from workbench.papers.self_verification.paper import Settings

SETTINGS = replace(Settings().tiny(), k=3, p=2, sc=4)


@pytest.fixture(scope="module")
def problems():
    return presets.problems("tiny", "", "", 6, [0, 1])


@pytest.fixture(scope="module")
def sums():
    return backend(wb.load("sums"))


def test_prompts_are_counted_as_a_run_masks(sums, problems):
    done = study.run(sums, problems, SETTINGS, wb.SampleStore())
    asked = [v for c in done.comparisons for v in c.verified]
    contested = [v for v in asked if v.hits]
    assert contested
    assert all(calls._masks(v.problem, SETTINGS) == len(v.conditions) for v in contested)
    one = replace(SETTINGS, conditions="first")
    assert {calls._masks(v.problem, one) for v in asked} == {1}
    count = {part.what: part.calls for part in calls.parts(sums, problems, SETTINGS)}
    candidates = calls.DIFFERENT * SETTINGS.k
    masks = sum(calls._masks(v.problem, SETTINGS) for v in asked)
    assert count["samples of conditions masked, or of conclusions judged"] == round(
        candidates * masks * SETTINGS.p
    )
    assert count["samples of true or false"] == round(candidates * SETTINGS.p * 12)
    assert count["greedy answers and conclusions"] == 24


def test_true_or_false_is_drawn_once_where_nothing_is_masked(sums, problems):
    plain = replace(SETTINGS, verification="tfv")
    with wb.SampleStore() as store:
        done = study.run(sums, problems, plain, store)
        drawn = store.stages()["backward"][0]
    judged = sum(len(v.candidates) for c in done.comparisons for v in c.verified if v.hits)
    assert judged * plain.p <= drawn  # those of the two most frequent answers are more
    count = {part.what: part.calls for part in calls.parts(sums, problems, plain)}
    assert count["samples of true or false"] == 0
    assert done.variants.keys() == {"all conditions", "stopping early"}


def test_stages_add_their_own_and_more_samples_take_longer(sums, problems):
    few = calls.parts(sums, problems, SETTINGS)
    both = calls.parts(sums, problems, SETTINGS, {"again": (sums, problems)})
    assert [p.calls for p in both][:1] == [2 * few[0].calls]
    assert all(part.seconds > 0 for part in few)


def test_of_a_server_calls_and_tokens_alone(problems):
    parts = calls.parts(Endpoint("http://127.0.0.1:1/v1", "m"), problems, SETTINGS)
    assert all(part.seconds is None for part in parts)
    text = spelled(parts, calls.LEFT_OUT)
    total = 32 * sum(part.calls for part in parts)
    # How many answers differ is not known beforehand: no bound.
    assert text.startswith(f"A server of unknown speed is asked for about {total:,} tokens, if ")
    assert "minutes" not in text


def test_without_heat_a_sample_is_drawn_once(sums, problems):
    cold = replace(SETTINGS, t_forward=0.0, t_backward=0.0)
    with wb.SampleStore() as store:
        study.run(sums, problems, cold, store)
        drawn = {stage: count for stage, (count, _) in store.stages().items()}
    count = {part.what: part.calls for part in calls.parts(sums, problems, cold) if part.calls}
    assert drawn == {"forward": 12}  # nothing is contested, so nothing is concluded or verified
    assert count == {"greedy answers and conclusions": 24}
    checked = {part.what: part.calls for part in calls.parts(sums, problems, SETTINGS)}
    once = {
        part.what: part.calls
        for part in calls.parts(sums, problems, replace(SETTINGS, t_backward=0.0))
    }
    for what in (
        "samples of conditions masked, or of conclusions judged",
        "samples of true or false",
    ):
        assert once[what] == pytest.approx(checked[what] / SETTINGS.p, abs=1)


def test_a_question_without_room_is_refused(sums, problems):
    with pytest.raises(ContextLengthError):
        calls.parts(sums, problems, replace(SETTINGS, max_new_tokens=10**6))
