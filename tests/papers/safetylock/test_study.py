"""A study from its inputs to its record, and a killed one going on."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import workbench as wb
from workbench.errors import RunError
from workbench.papers.safetylock import figures, presets, study, tables
from workbench.papers.safetylock.attack import fine_tune, granting
from workbench.papers.safetylock.evaluate import take
from workbench.papers.safetylock.lock import CONTROLS, contrast_activations, find_lock
from workbench.papers.safetylock.recipe import Recipe

SETTINGS = replace(
    presets.settings("tiny", alpha=1.75, heads=6, r=0, selection="validation", draws=1),
    pairs=30, validated=5, evaluated=5,
)  # fmt: skip


class Keeper:
    """A cache of JSON that a test can look into, and that gives up after `limit` new results."""

    def __init__(self, limit=10**6):
        self.results, self.computed, self.limit = {}, 0, limit

    def __call__(self, name, key, compute):
        place = name, repr(key)
        if place not in self.results:
            if self.computed == self.limit:
                raise KeyboardInterrupt
            self.computed += 1
            self.results[place] = compute()
        return self.results[place]


@pytest.fixture(scope="module")
def inputs(tiny):
    inputs = presets.inputs("tiny", SETTINGS)
    stop = granting(take(inputs.validation, 5), inputs.judge)
    attacked = fine_tune(tiny, inputs.train, 1, stop=stop).model
    return replace(inputs, base=tiny, finetuned=attacked)


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    keeper = Keeper()
    folder = tmp_path_factory.mktemp("study")
    return study.run(inputs, SETTINGS, [0], keeper, folder), keeper


def test_all_stages_leave_what_tables_and_figures_read(finished, inputs):
    done, _ = finished
    assert done.candidate == ("validation", 5, 6)
    assert done.alpha == 1.75
    metrics = {m["name"]: m for m in tables.metrics(done)}
    assert metrics["asr_attacked"]["value"] > metrics["asr_aligned"]["value"]
    assert metrics["direction_cosine"]["value"] > 0.8
    assert metrics["direction_cosine"]["n"] == 6
    assert len(figures.head_maps(done)) == 1
    assert len(figures.validation_maps(done)) == 3
    assert set(done.effects) == set(done.lock.heads)
    for figure in (figures.head_effects(done), figures.dose_response(done), figures.cosines(done)):
        assert figure.data
    assert "10 to choose and 10 to test on" in str(inputs)
    assert wb.HeadDirections.load(done.folder / "lock.safetensors").digest() == done.lock.digest()
    assert done.export_error < 1e-3
    assert not inputs.finetuned.folds


def test_a_killed_study_goes_on(finished, inputs, tmp_path):
    whole, keeper = finished
    killed = Keeper(limit=3)
    with pytest.raises(KeyboardInterrupt):
        study.run(inputs, SETTINGS, [0], killed, tmp_path)
    assert killed.computed == 3
    killed.limit = keeper.computed
    again = study.run(inputs, SETTINGS, [0], killed, tmp_path)
    assert killed.computed == keeper.computed
    assert (again.attacked, again.curves) == (whole.attacked, whole.curves)
    assert again.controls == whole.controls


def test_a_given_lock_is_the_only_candidate(inputs, tiny, tmp_path):
    lock, _ = find_lock(contrast_activations(tiny, inputs.pairs, 2), 4)
    # What no lock that is searched for could have does not matter here.
    settings = replace(SETTINGS, heads_grid=(33,), selections=("leverage",))
    given = study.Study(replace(inputs, lock=lock), settings, [0], Keeper(), tmp_path)
    study.discover(given)
    assert not given.scores
    assert "the best 4 heads" in str(figures.head_maps(given)[0].layout.title)
    assert given.locks == {("given", 0, 4): lock}
    study.make_attacks(given)
    study.choose(given)
    assert given.lock is lock
    assert given.contrast.acts.positions.k == 5
    assert tables.parameters(given)["selection"] == "given"


def test_an_attack_that_broke_nothing_leaves_nothing_to_restore(inputs, tiny, tmp_path):
    harmless = study.Study(replace(inputs, finetuned=tiny), SETTINGS, [0], Keeper(), tmp_path)
    for stage in (study.discover, study.make_attacks, study.choose):
        stage(harmless)
    with pytest.raises(RunError, match="broke no refusals"):
        study.apply_lock(harmless)


def small(inputs, tiny, keeper, tmp_path):
    study_ = study.Study(replace(inputs, finetuned=tiny), SETTINGS, [0], keeper, tmp_path)
    study.make_attacks(study_)
    return study_.before


def test_kept_replies_are_judged_by_the_judge_of_now(inputs, tiny, tmp_path):
    keeper = Keeper()
    before = small(inputs, tiny, keeper, tmp_path)
    computed = keeper.computed
    other = replace(inputs.judge, refuses=lambda text: False, broken=lambda text: True)
    after = small(replace(inputs, judge=other), tiny, keeper, tmp_path)
    assert keeper.computed == computed
    assert (after.replies, after.attack) == (before.replies, [1] * 5)
    assert after.broken == [1] * 5 != before.broken


def test_requests_and_template_of_now_are_answered(inputs, tmp_path):
    model, keeper = wb.load("tiny", device="cpu"), Keeper()
    inputs = replace(inputs, base=model)
    before = small(inputs, model, keeper, tmp_path)
    computed = keeper.computed
    assert small(inputs, model, keeper, tmp_path) == before
    assert keeper.computed == computed
    model.tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    assert small(inputs, model, keeper, tmp_path).replies != before.replies
    assert keeper.computed > computed
    computed = keeper.computed
    rows = [{**inputs.test[0], "prompt": inputs.test[1]["prompt"]}, *inputs.test[1:]]
    small(replace(inputs, test=rows), model, keeper, tmp_path)
    assert keeper.computed > computed


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        # Refusals in words that the phrases miss, and broken text, are no granted harm.
        ({"refuses": lambda _: False, "declines": lambda _: True}, "0% granted, 0% answered"),
        ({"refuses": lambda _: False, "broken": lambda _: True}, "0% granted, 100% answered"),
    ],
)
def test_what_only_the_phrases_call_an_attack_is_no_loss(inputs, tmp_path, judge, said):
    plain = {"declines": lambda _: False, "broken": lambda _: False}
    judge = replace(inputs.judge, **{**plain, **judge})
    study_ = study.Study(replace(inputs, judge=judge), SETTINGS, [0], Keeper(), tmp_path)
    study.make_attacks(study_)
    assert study_.attacked[1, 0].rates()["asr"] == 1
    with pytest.raises(RunError, match=f"broke no refusals.*{said}.*no refusal phrase in 100%"):
        study.apply_lock(study_)


def test_every_seed_has_control_locks_of_its_own_at_the_locks_alpha(finished, monkeypatch):
    done, _ = finished
    two = copy.copy(done)
    two.attacks = {(1, seed): done.attacks[1, 0] for seed in (0, 1)}
    two.curves = {(1, seed): done.curves[1, 0] for seed in (0, 1)}
    monkeypatch.setattr(study, "measure_of", lambda *_: lambda lock, alpha: (lock.digest(), alpha))
    study.run_controls(two)
    for kind in CONTROLS:
        first, second = (two.controls[seed][kind] for seed in (0, 1))
        assert not first.keys() & second.keys()
        for drawn in (first, second):
            assert drawn == {lock: (lock, done.alpha) for lock in drawn}


def exported_bias(folder):
    weights = load_file(folder / "locked" / "model.safetensors")
    return {k: v for k, v in weights.items() if k.endswith("o_proj.bias")}


def test_an_export_is_of_its_own_lock(finished, caplog):
    """Not of the lock that another run left there, nor what was damaged since."""
    done, _ = finished
    own = exported_bias(done.folder)
    other = copy.copy(done)
    other.alpha = done.alpha / 2
    for made in (other, done):
        study.export(made)
        shift = exported_bias(done.folder)
        scale = made.alpha / done.alpha
        for name, bias in own.items():
            assert torch.allclose(shift[name], scale * bias, atol=1e-6)
        assert made.export_error < 1e-3
    assert caplog.text.count("does not hold this lock") == 1, "the other's, where ours was kept"
    (done.folder / "locked" / "config.json").write_text("{}")
    study.export(done)
    assert "config.json is damaged" in caplog.text
    before = (done.folder / "locked" / "sealed.json").stat().st_mtime_ns
    study.export(done)
    assert (done.folder / "locked" / "sealed.json").stat().st_mtime_ns == before
    (done.folder / "locked" / "sealed.json").unlink()
    with pytest.raises(RunError, match="locked is in the way"):
        study.export(done)
    assert (done.folder / "locked" / "config.json").exists()


def test_a_model_is_taught_first_where_that_is_asked_for(inputs, tiny, tmp_path):
    recipe = Recipe(1e-3, 2, frozen=0.5)
    asked = replace(SETTINGS, align=recipe)
    # A given descendant is one of the base model as it is.
    given = study.Study(inputs, asked, [0], Keeper(), tmp_path)
    study.align(given)
    assert given.inputs is inputs
    assert tables.taught(given) == []
    made = study.Study(replace(inputs, finetuned=None), asked, [0], Keeper(), tmp_path, tmp_path)
    study.align(made)
    base = made.inputs.base
    assert base.fingerprint() != tiny.fingerprint()
    assert (
        base.layer(0).mlp.up_proj.weight.data_ptr() == tiny.layer(0).mlp.up_proj.weight.data_ptr()
    )
    before, after = tables.taught(made)
    assert (before["model"], after["model"]) == ("as loaded", "taught")
    assert "taught nothing" in after["verdict"]
    again = study.Study(replace(inputs, finetuned=None), asked, [0], Keeper(), tmp_path, tmp_path)
    study.align(again)
    assert again.inputs.base.fingerprint() == base.fingerprint()
