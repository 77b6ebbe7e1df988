"""The features UI shows what the package computes, card by card."""

import re
import threading
import time

import pytest
import torch

import workbench as wb
from tests.helpers.odd_tokenizers import around_text


@pytest.fixture(scope="module")
def feature_ui(tmp_path_factory):
    import copy

    from workbench.papers.fpo import presets
    from workbench.sae.diff import diff_features
    from workbench.sae.pooling import Constraint
    from workbench.training.pairs import tokenised

    out = tmp_path_factory.mktemp("features")
    settings = presets.settings("tiny", methods="fpo", alphas="0", held_out=24)
    inputs = presets.inputs("tiny", settings)
    rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
    policy = copy.deepcopy(inputs.reference)
    torch.manual_seed(0)
    for weight in policy.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    diff = diff_features(
        policy, inputs.reference, rows, inputs.sae, inputs.hook, out / "run", Constraint(k=8)
    )
    ui = wb.ui.features(
        diff, inputs.sae, rows, inputs.tokenizer, policy=policy, reference=inputs.reference,
        folder=out,
    )  # fmt: skip
    ui.wait()
    assert all(figure.outputs for figure in ui.overview)
    return ui


def test_the_probe_reads_what_the_hugging_face_forward_shows(feature_ui):
    ui, text = feature_ui, "sea anchor : * please kindly"
    ui.side.value, ui.table.selected, ui.probe.value = "reference", 5, text
    ui.read_text()
    ids = ui.tokenizer(text, return_tensors="pt")["input_ids"]
    hook = ui.diff.meta["hook"]
    layer = int(hook.split(".")[1])
    with torch.no_grad():
        out = ui.models["reference"](input_ids=ids, output_hidden_states=True)
        codes = ui.sae.encode(out.hidden_states[layer + 1][0].float())
    titles = [float(t) for t in re.findall(r'title="([^"]+)"', ui.probed.value)]
    torch.testing.assert_close(torch.tensor(titles), codes[:, 5], atol=1e-3, rtol=1e-2)
    strongest = int(codes.amax(0).argmax())
    assert re.search(rf"<tbody><tr><td>{strongest}</td>", ui.probed.value)


def test_the_probe_reads_no_end_that_a_tokenizer_appends(feature_ui, monkeypatch):
    ui, text = feature_ui, "sea anchor : * please kindly"
    ui.side.value, ui.table.selected, ui.probe.value = "reference", 5, text
    ui.read_text()
    plain = ui.probed.value
    monkeypatch.setattr(ui, "tokenizer", around_text(ui.tokenizer, "$A <eos>"))
    assert ui.tokenizer(text)["input_ids"][-1] == ui.tokenizer.eos_token_id
    ui.read_text()
    assert ui.probed.value == plain
    ui.probe.value = "sea \ud800"
    ui.read_text()
    assert "half of a surrogate pair" in ui.message.value


def test_a_row_opens_its_card_and_a_neighbour_the_next(feature_ui):
    ui = feature_ui
    active = int(ui.frame["density_policy"].idxmax())
    ui.table.selected = active
    assert f"Feature {active}" in ui.title.value
    assert "pair" in ui.card.value
    assert ui.histogram.outputs
    ui.near.children[1].click()
    assert ui.table.selected == ui.frame.loc[active, "nearest"][0]
    assert f"Feature {ui.table.selected}<" in ui.title.value


def test_a_card_that_is_drawn_late_does_not_overwrite_a_newer_one(feature_ui, monkeypatch):
    from workbench.widgets import features

    ui, begun, plain = feature_ui, threading.Event(), features.contexts
    old, new = (int(i) for i in ui.frame["density_policy"].nlargest(2).index)
    ui.table.selected = new
    expected = ui.card.value
    ui.table.selected = old

    def slow(run, feature, *rest):
        if feature == old:
            begun.set()
            time.sleep(0.3)
        return plain(run, feature, *rest)

    monkeypatch.setattr(features, "contexts", slow)
    thread = threading.Thread(target=ui._show_card)
    thread.start()
    assert begun.wait(10)
    ui.table.selected = new
    thread.join()
    assert f"Feature {new}<" in ui.title.value
    assert ui.card.value == expected


def test_a_filter_that_is_not_understood_says_so_until_it_is(feature_ui):
    ui = feature_ui
    ui.filter.value = "nothing > 1"
    assert 'role="alert">no column' in ui.misread.value
    ui.probe.value = "sea anchor"
    ui.read_text()
    assert "no column" in ui.misread.value
    ui.filter.value = ""
    assert not ui.misread.value


def test_concepts_are_exported_with_their_lens(feature_ui, tmp_path):
    import json

    ui = feature_ui
    ui.folder = tmp_path
    ui.export.click()
    assert "no concept is marked yet" in ui.message.value
    ui.mark.click()
    assert "name the concept first" in ui.message.value
    ui.concept.value = "polite"
    for feature in (7, 9, 7):
        ui.table.selected = feature
        ui.mark.click()
    ui.export.click()
    found = json.loads((tmp_path / "concepts.json").read_text())
    assert [x["feature"] for x in found["concepts"]["polite"]] == [7, 9]
    assert found["concepts"]["polite"][0]["up"] == ui.lens([7]).loc[7, "up"]
    assert found["hook"] == ui.diff.meta["hook"]
