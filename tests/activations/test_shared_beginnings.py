"""Families with attention of their own: capture gives what plain forwards give."""

import pytest
import torch

import workbench as wb
from tests.activations.test_capture import reference
from tests.helpers.families import build
from tests.helpers.odd_families import ODD, odd
from tests.helpers.prompts import PROMPTS
from workbench.activations import forwards, trials


def check_is_plain(model, sites=("resid", "mlp", "heads")):
    for site in sites:
        if site in model.refused_sites:
            continue
        acts = wb.capture(model, PROMPTS, site, wb.last(2))
        for values, prompt in zip(acts.values, PROMPTS, strict=True):
            expected = reference(model, prompt, site)[-2:].reshape(values.shape)
            torch.testing.assert_close(values, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ODD)
def test_capture_of_a_family_of_its_own(tokenizer, name):
    check_is_plain(odd(name, tokenizer))


def test_ordinary_attention_shares_and_is_tried_once(tokenizer, monkeypatch):
    model, shared = build("llama", tokenizer), []
    real = forwards._prefix_cache
    monkeypatch.setattr(forwards, "_prefix_cache", lambda m, i: (shared.append(i), real(m, i))[1])
    for _ in range(3):
        wb.capture(model, PROMPTS, "resid")
    assert len(shared) == 4


@pytest.mark.parametrize("bug", ["a token less", "other values"])
def test_a_beginning_that_is_kept_wrong_is_not_shared(tokenizer, monkeypatch, bug):
    model, real = build("llama", tokenizer), forwards._prefix_cache

    def wrong(model, ids):
        cache = real(model, ids)
        for layer in cache.layers:
            if bug == "other values":
                layer.values = 1.01 * layer.values
            else:
                layer.keys, layer.values = layer.keys[:, :, 1:], layer.values[:, :, 1:]
        return cache

    monkeypatch.setattr(forwards, "_prefix_cache", wrong)
    check_is_plain(model, ["resid"])
    assert list(trials._verdicts[model.hf].values()) == [False]
