"""One feature from near against loops over the stored rows."""

import json

import numpy as np
import pytest
import torch

from tests.helpers.feature_toys import HOOK, POLICY, REFERENCE, ROWS, SAE, TOKENIZER, dense
from workbench.errors import FeatureError
from workbench.sae.card import contexts, histogram, largest_pairs, save_neuronpedia
from workbench.sae.lens import lens


def test_contexts_show_the_tokens_and_both_models_on_them(run):
    i = int(np.argmax((run.counts.active[0].sum(0)) > 10))
    found = contexts(run, i, ROWS, TOKENIZER, window=3)
    top = [c for c in found if c["kind"] == "top"]
    values = [c["value"] for c in top]
    assert values == sorted(values, reverse=True)
    assert len({c["kind"] for c in found}) > 5
    for c in found:
        row = ROWS[c["pair"]]
        ids = torch.tensor([row["prompt_ids"] + row[f"{c['side']}_ids"]])
        names = TOKENIZER.convert_ids_to_tokens(ids[0].tolist())
        for model, shown in ((POLICY, c["policy"]), (REFERENCE, c["ref"])):
            with torch.no_grad():
                h = model(ids, output_hidden_states=True).hidden_states[2][0]
            codes = SAE.encode(h)[:, i].tolist()
            begin = len(row["prompt_ids"]) - 1
            codes = [v if begin <= t < len(codes) - 1 else 0 for t, v in enumerate(codes)]
            starts = [
                s for s in range(len(names)) if names[s : s + len(c["tokens"])] == c["tokens"]
                and np.allclose(codes[s : s + len(c["tokens"])], shown, rtol=2e-3, atol=1e-3)
            ]  # fmt: skip
            assert starts
        assert max(c["policy"][c["at"]], c["ref"][c["at"]]) == pytest.approx(c["value"], rel=2e-3)
    deciles = [c for c in found if c["kind"] != "top"]
    numbers = [int(c["kind"].split()[1]) for c in deciles]
    assert numbers == sorted(numbers, reverse=True)
    assert [c["value"] for c in deciles] == sorted((c["value"] for c in deciles), reverse=True)


def test_contexts_of_other_rows_or_features_are_refused(run):
    with pytest.raises(FeatureError, match="3 rows, but"):
        contexts(run, 0, ROWS[:3], TOKENIZER)
    with pytest.raises(FeatureError, match=r"feature=64: .* at most 63"):
        contexts(run, 64, ROWS, TOKENIZER)


def test_histogram_and_pairs(run):
    i = int(run.counts.active[0].sum(0).argmax())
    bins = histogram(run, i)
    codes = np.concatenate([dense(run, "policy", s) for s in ("chosen", "rejected")])[:, i]
    expected = np.histogram(codes[codes > 0], bins["edges"])[0]
    assert np.abs(np.array(bins["policy"]) - expected).sum() <= 2
    found = largest_pairs(run, i, 4)
    gap = np.array(
        [(run.pooled["policy", "rejected"][r, i] - run.pooled["ref", "rejected"][r, i])
         for r in range(len(ROWS))]
    )  # fmt: skip
    assert found["pair"].tolist() == np.argsort(-np.abs(gap), kind="stable")[:4].tolist()
    assert np.allclose(found["drift"], gap[found["pair"]])


def test_a_neuronpedia_page_holds_what_the_table_says(run, table, tmp_path):
    i = int(run.counts.active[0].sum(0).argmax())
    shown = lens(POLICY, SAE, HOOK, TOKENIZER, [i])
    path = tmp_path / "page.json"
    save_neuronpedia(
        run, table, shown, ROWS, TOKENIZER, path, model_name="toy", features=[i]
    )  # fmt: skip
    (page,) = json.loads(path.read_text())
    assert (page["modelId"], page["index"], page["hookName"]) == ("toy", str(i), HOOK)
    assert page["frac_nonzero"] == pytest.approx(table["density_policy"][i])
    assert sum(page["freq_hist_data_bar_heights"]) == run.counts.active[0, :, i].sum()
    assert page["pos_str"] == shown.loc[i, "up"]
    assert page["topkCosSimIndices"] == table["nearest"][i]
    first = page["activations"][0]
    assert first["maxValue"] == max(first["values"])
    assert first["values"][first["maxValueTokenIndex"]] == first["maxValue"]
