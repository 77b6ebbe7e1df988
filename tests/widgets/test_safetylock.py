"""The SafetyLock UI: the lock it finds and what it measures are the package's."""

import threading

import numpy as np

import workbench as wb
from tests.helpers.uploads import file
from workbench.papers.safetylock.evaluate import Benchmark, Outcome, brindle_judges, judged, take
from workbench.papers.safetylock.lock import contrast_activations, find_lock
from workbench.papers.safetylock.response import locked_replies
from workbench.papers.safetylock.tune import Tuned
from workbench.widgets import safetylock_apply
from workbench.widgets.safetylock_apply import ApplyPanel
from workbench.widgets.view import View


def test_safetylock_finds_the_packages_lock_and_measures_as_it_does(tiny, tmp_path):
    ui = wb.ui.safetylock(tiny, folder=tmp_path)
    ui.count.value, ui.k.value = 40, 6
    ui.discover()
    ui.wait()
    contrast = contrast_activations(tiny, wb.load_data("preference")[:40], 5)
    expected, probes = find_lock(contrast, 6, "validation")
    assert ui.lock.digest() == expected.digest()
    np.testing.assert_allclose(ui.heads.values, probes.validation_accuracy)
    assert [tuple(c) for c in ui.heads.active] == expected.heads
    ui.apply_panel.count.value, ui.apply_panel.alpha.value = 10, 2.0
    ui.apply_panel.controls.value = False
    ui.apply_panel.apply()
    ui.wait(120)
    assert not ui.message.value
    target = ui.apply_panel._target[1]
    test = take(wb.load_data("requests", "test"), 10)
    benchmark = Benchmark(test, brindle_judges(), 72)
    for name, alpha in (("before", 0.0), ("after", 2.0)):
        texts = locked_replies(Tuned(target, "", 0), benchmark, expected, alpha)
        outcome = judged(benchmark, texts)
        assert ui.apply_panel.outcomes[name] == outcome
    shown = ui.apply_panel.outcome.value
    for field in (outcome.attack, outcome.granted, outcome.helpful):
        assert f"{sum(field) / 10:.1%} [" in shown
    assert "[0.0%, 0.0%]" not in shown  # no event has a bound, too
    assert f"The two agree on {sum(outcome.agree) / 20:.1%}" in shown
    assert all(label in shown for label in ("granted", "by the published phrases"))
    assert not target.hooks
    ui.use(expected.heads[:2])
    assert ui.lock.digest() == expected.pick([0, 1]).digest()
    ui.save.click()
    assert wb.HeadDirections.load(tmp_path / "lock.safetensors").digest() == ui.lock.digest()
    ui.close()


def test_control_locks_differ_and_lie_outside_the_lock(tiny, monkeypatch):
    """Three draws of each kind at the lock's alpha; a kind that cannot be drawn is a dash."""
    measured = []

    def measure(attack, benchmark, direction, alpha, **_):
        measured.append((direction, alpha))

    def outcome(benchmark, texts):
        half = [1, 0]
        return Outcome(half, half, half, half, half, half, half, half * 2, [""] * 4)

    monkeypatch.setattr(safetylock_apply, "locked_replies", measure)
    monkeypatch.setattr(safetylock_apply, "judged", outcome)
    contrast = contrast_activations(tiny, wb.load_data("preference")[:20], 3)
    for k, draws in ((6, 9), (20, 6)):
        lock, _ = find_lock(contrast, k)
        view = View()
        panel = ApplyPanel(view, tiny, lambda lock=lock: (lock, contrast, "auto"), False)
        panel._target = (f"attacked {tiny.name} auto", tiny)
        measured.clear()
        panel.apply()
        view.wait()
        assert not view.message.value
        controls = [direction for direction, _ in measured[-draws:]]
        assert len({control.digest() for control in controls} | {lock.digest()}) == draws + 1
        kinds = [control.provenance["control"] for control in controls]
        assert kinds.count("random heads") == draws - 6
        for control, kind in zip(controls, kinds, strict=True):
            apart = set(control.heads).isdisjoint(lock.heads)
            assert apart if kind == "random heads" else control.heads == lock.heads
        assert f"random heads, {draws - 6} draws" in panel.outcome.value
        assert ("–" in panel.outcome.value) == (draws == 6)
        view.close()


def test_requests_of_one_kind_are_refused(tiny, tmp_path):
    ui = wb.ui.safetylock(tiny, folder=tmp_path)
    contrast = contrast_activations(tiny, ui.pairs[:20], 3)
    ui._show(find_lock(contrast, 2)[0], contrast)
    (tmp_path / "harmful.jsonl").write_text('{"prompt": "p", "harmful": true}\n')
    ui.apply_panel.requests.value = str(tmp_path / "harmful.jsonl")
    ui.apply_panel.apply()
    ui.wait()
    assert "hold no harmless ones" in ui.message.value
    ui.close()


def test_harmful_texts_are_hidden_until_asked_for(tiny):
    ui = wb.ui.safetylock(tiny)
    texts = [p["prompt"] for p in ui.pairs[:5]]
    assert not any(t in ui.preview.value for t in texts)
    assert not any(t in ui.static() for t in texts)
    ui.reveal.value = True
    assert all(t in ui.preview.value for t in texts)
    ui.close()


def test_safetylock_says_what_is_missing(tiny, tmp_path):
    ui = wb.ui.safetylock(tiny, folder=tmp_path)
    ui.apply_panel.apply()
    ui.wait()
    assert "discover one first" in ui.message.value
    ui.upload.value = (file("pairs.jsonl", b'{"prompt": "a", "chosen": "b"}\n'),)
    assert "row 0: field &#x27;rejected&#x27; is missing" in ui.message.value
    assert not ui.pairs
    ui.apply_panel.alpha.value = -2
    assert ui.apply_panel.alpha.value == 0
    ui.apply_panel.research.value = True
    ui.apply_panel.alpha.value = -2
    assert ui.apply_panel.alpha.value == -2
    ui.apply_panel.research.value = False
    assert ui.apply_panel.alpha.value == 0
    ui.close()


def test_discovery_stops(tiny):
    ui = wb.ui.safetylock(tiny)
    ui.count.value = 300
    begun = threading.Event()
    ui.progress.bar.observe(lambda _: begun.set(), "value")
    ui.discover()
    assert begun.wait(30)
    ui.stop.click()
    ui.wait()
    assert ui.lock is None
    assert ui.progress.layout.visibility == "hidden"
    assert not ui.message.value
    ui.close()
