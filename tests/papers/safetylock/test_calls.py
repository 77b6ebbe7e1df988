"""What a run asks of its models: counted beforehand, and counted as it runs."""

from dataclasses import replace

import pytest

from workbench.errors import ContextLengthError
from workbench.papers.safetylock import calls, costs, evaluate, leverage, lock, presets, study
from workbench.papers.safetylock.attack import fine_tune, granting
from workbench.papers.safetylock.tune import Tuned

SETTINGS = replace(
    presets.settings("tiny", alphas="1.75,1", selection="", r=0, draws=1, pairs=30, validated=3,
                     evaluated=4, max_new_tokens=48, repeats=1),
    selections=("validation", "leverage"), r_grid=(5,),
)  # fmt: skip


@pytest.fixture(scope="module")
def attacked(tiny):
    inputs = presets.inputs("tiny", SETTINGS)
    return fine_tune(tiny, inputs.train, 1, stop=granting(inputs.validation, inputs.judge)).model


def counted(monkeypatch, module, name, key=lambda *_: 1):
    """A list that grows by the key of every call of the function."""
    seen, real = [], getattr(module, name)

    def function(*arguments, **named):
        seen.append(key(*arguments))
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, function)
    return seen


def test_a_run_makes_the_calls_that_were_counted(tiny, attacked, monkeypatch, tmp_path):
    inputs = replace(presets.inputs("tiny", SETTINGS), base=tiny)
    made = []

    def fine_tuned(base, rows, level, recipe, **options):
        made.append(recipe.max_steps)
        return Tuned(attacked if level == 1 else base, "", 3)

    monkeypatch.setattr(presets, "fine_tune", fine_tuned)
    parts = calls.parts(inputs, SETTINGS, [0])
    asked = counted(monkeypatch, evaluate, "generate", lambda model, chats: len(chats))
    margins = counted(monkeypatch, leverage, "margin")
    captures = counted(monkeypatch, lock, "capture", lambda model, chats, *_: len(chats))
    timed = counted(monkeypatch, costs, "encode")
    done = study.run(inputs, SETTINGS, [0], lambda name, key, compute: compute(), tmp_path)
    count = {part.what: part.calls for part in parts}
    assert asked.count(6) == count["6 replies to choose heads and alpha by"]
    tests = count["8 replies to test every attack, level 1 at every dose"]
    assert asked.count(8) == tests + count["8 replies under a control lock"]
    of_largest = max(SETTINGS.heads_grid) - len(done.lock)
    ranked, alone = count["forwards to rank heads by"], count["forwards with one head of the lock"]
    assert len(margins) == ranked + alone - of_largest
    assert captures == [60] * count["captures of all pairs"]
    assert len(timed) == 1
    assert len(done.decode_ratios) == 1
    assert count["decodings of 64 tokens, timed"] == 3
    steps = calls.USUAL_STEPS * made.count(60)
    assert count["looks whether an attack has gone far enough"] == steps
    assert count["training steps of ten rows"] == steps + sum(s for s in made if s == 10)
    assert count["training steps of 32 rows"] == sum(s for s in made if s == 20)
    assert all(part.seconds > 0 for part in parts if part.calls)


def test_a_model_and_a_lock_that_are_given_need_no_others(tiny, attacked, pairs):
    inputs = replace(presets.inputs("tiny", SETTINGS), base=tiny, finetuned=attacked)
    own, _ = lock.find_lock(lock.contrast_activations(tiny, pairs, 5), 4)
    settings = replace(SETTINGS, selections=("validation",), r_grid=(5,))
    count = {p.what: p.calls for p in calls.parts(replace(inputs, lock=own), settings, [0])}
    assert count["6 replies to choose heads and alpha by"] == 1 + 2
    assert count["forwards with one head of the lock"] == 4 + 1
    assert count["forwards to rank heads by"] == 0
    assert count["8 replies to test every attack, level 1 at every dose"] == 2 + 2
    assert count["8 replies under a control lock"] == 3
    assert count["training steps of ten rows"] == 0


def test_a_request_that_leaves_no_room_is_refused_by_the_estimate(tiny):
    inputs = presets.inputs("tiny", SETTINGS)
    long = [*inputs.test, {"prompt": "How " * 400, "harmful": False}]
    with pytest.raises(ContextLengthError, match="request 8"):
        calls.parts(
            replace(inputs, base=tiny, test=long), replace(SETTINGS, max_new_tokens=480), [0]
        )
