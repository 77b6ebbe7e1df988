"""A study is computed anew where what it depends on was edited between two calls in one folder."""

from dataclasses import replace

import pytest

from workbench.papers.fpo import costs, presets, study
from workbench.runs.cache import cached
from workbench.sae.loading import sae_digest


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """(run with inputs → what was computed, inputs)."""
    out = tmp_path_factory.mktemp("study")
    settings = presets.settings("tiny", methods="fpo", alphas="5", steps=2, pairs=16, held_out=4)

    def run(inputs):
        computed = []

        def keep(name, key, compute):
            return cached(out / "cache", name, key, lambda: computed.append(name) or compute())

        study.run("tiny", inputs, settings, [0], out, keep)
        return computed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "bench", lambda *_: costs.wide(500, 8))
        patch.setattr(study, "costs", lambda *_: [])
        patch.setattr(study, "step_ratios", lambda *_: [])
        inputs = presets.inputs("tiny", settings)
        run(inputs)
        yield run, inputs


def template(inputs):
    inputs.tokenizer.chat_template = "{{ messages }}"
    return inputs


def token(inputs):
    inputs.tokenizer.add_tokens(["gate-of-Mara"])
    return inputs


def epsilon(inputs):
    inputs.reference.model.layers[0].input_layernorm.variance_epsilon *= 2
    return inputs


def rows(inputs):
    return replace(inputs, train=inputs.train.map(lambda r: r | {"chosen": r["rejected"]}))


@pytest.mark.parametrize("edit", [template, token, epsilon, rows])
def test_what_was_edited_is_computed_anew(once, edit):
    run, inputs = once
    assert run(inputs) == []
    inputs = edit(inputs)
    assert {"health", "fpo-5-0"} <= set(run(inputs))
    assert run(inputs) == []


def test_what_is_kept_names_its_device_and_costs_their_sae(once, monkeypatch):
    run, inputs = once
    keys = {}
    keep = lambda _, name, key, make: keys.update({name: key}) or make()  # noqa: E731
    monkeypatch.setitem(globals(), "cached", keep)
    run(inputs)
    assert {key["device"] for key in keys.values()} == {"cpu"}
    assert {key["sae"] for key in keys.values()} == {sae_digest(inputs.sae)}
