"""The SafetyLock UI: the lock it finds and what it measures are the package's."""

import threading

import numpy as np

import workbench as wb
from tests.helpers.uploads import file
from workbench.papers.safetylock.attack import Attack
from workbench.papers.safetylock.evaluate import Benchmark, brindle_judge, take
from workbench.papers.safetylock.lock import contrast_activations, find_lock
from workbench.papers.safetylock.response import evaluate_locked


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
    benchmark = Benchmark(test, brindle_judge(), 72)
    for name, alpha in (("before", 0.0), ("after", 2.0)):
        outcome = evaluate_locked(Attack(target, "", 0), benchmark, expected, alpha)
        assert ui.apply_panel.outcomes[name] == outcome
    rate = sum(outcome.attack) / 10
    assert f"{rate:.1%} [" in ui.apply_panel.outcome.value
    assert not target.hooks
    ui.use(expected.heads[:2])
    assert ui.lock.digest() == expected.pick([0, 1]).digest()
    ui.save.click()
    assert wb.HeadDirections.load(tmp_path / "lock.safetensors").digest() == ui.lock.digest()
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
