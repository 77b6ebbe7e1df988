"""A trained SAE finds the directions that were planted."""

import pytest
import torch

from tests.helpers.fpo_toys import llama
from workbench.errors import FeatureError
from workbench.sae.loading import encode, load_sae
from workbench.sae.training import response_activations, train_topk


def test_a_trained_sae_finds_planted_directions_on_raw_activations(tmp_path):
    g = torch.Generator().manual_seed(0)
    planted = torch.nn.functional.normalize(torch.randn(24, 16, generator=g), dim=1)
    codes = torch.zeros(6000, 24)
    codes.scatter_(1, torch.rand(6000, 24, generator=g).topk(2, 1).indices, 0.05)
    values = codes @ planted  # small norms, which is what the folded scale is for
    kwargs = {"hook_name": "blocks.0.hook_resid_post", "steps": 400, "batch": 256}
    sae = train_topk(values, 48, 2, **kwargs)
    found = encode(sae, values)
    left = ((sae.decode(found) - values) ** 2).sum() / ((values - values.mean(0)) ** 2).sum()
    assert left < 0.2
    assert (found > 0).sum(1).max() <= 2
    cosine = torch.nn.functional.normalize(sae.W_dec, dim=1) @ planted.T
    assert (cosine.max(0).values > 0.9).float().mean() > 0.7
    again = train_topk(values, 48, 2, **kwargs)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in sae.state_dict().items())
    sae.save_model(tmp_path)
    assert torch.equal(encode(load_sae(tmp_path), values), found)


@pytest.mark.parametrize(
    ("values", "k", "message"),
    [
        (torch.full((600, 4), torch.nan), 2, "not finite"),
        (torch.zeros(10, 4), 2, "at least batch"),
        (torch.zeros(600, 4), 9, "k=9: .* at most 8"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(values, k, message):
    with pytest.raises(FeatureError, match=message):
        train_topk(values, 8, k, hook_name="blocks.0.hook_resid_post")


def test_activations_of_answers_are_those_that_predict_them():
    model = llama().eval()
    rows = [
        {"prompt_ids": [1, 5, 6], "chosen_ids": [7, 8], "rejected_ids": [9]},
        {"prompt_ids": [1], "chosen_ids": [10, 11, 12], "rejected_ids": [13, 14]},
    ]
    expected = []
    for side in ("chosen_ids", "rejected_ids"):
        for row in rows:
            prompt, ids = row["prompt_ids"], row["prompt_ids"] + row[side]
            with torch.no_grad():
                states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
            # Not where the first token of a text stands, as in the health of an SAE.
            expected += list(states[max(len(prompt) - 1, 1) : len(ids) - 1])
    given = (model, rows, "blocks.1.hook_resid_post")
    found = response_activations(*given, 100)
    assert torch.allclose(found, torch.stack(expected), atol=1e-6)
    by_one = response_activations(*given, 100, batch=1)
    order = found.sum(1).argsort(), by_one.sum(1).argsort()
    assert torch.allclose(found[order[0]], by_one[order[1]], atol=1e-6)
    assert torch.equal(response_activations(*given, 3), found[:3])
    with pytest.raises(FeatureError, match="no pairs"):
        response_activations(model, [], "blocks.1.hook_resid_post", 3)
