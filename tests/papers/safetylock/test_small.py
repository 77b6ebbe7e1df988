"""The parts that the small preset rests on, on the real model where it is at hand."""

import pytest
import torch

import workbench as wb
from workbench.errors import ModelError
from workbench.hub import place_of
from workbench.papers.safetylock.attack import fine_tune
from workbench.papers.safetylock.leverage import (
    harmful_chats,
    head_effects,
    head_slopes,
    openers,
)
from workbench.papers.safetylock.recipe import Recipe


@pytest.fixture(scope="module")
def model():
    try:
        place_of("smollm2")
    except ModelError as error:
        pytest.skip(str(error))
    return wb.load("smollm2", device="cpu")


def test_slopes_are_the_effects_of_small_shifts(model):
    unit = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    unit /= unit.norm(dim=1, keepdim=True)
    some = wb.HeadDirections(torch.tensor([3, 15, 29]), torch.tensor([8, 0, 4]), unit=unit,
                             scale=torch.ones(3), provenance={})  # fmt: skip
    chats = harmful_chats(wb.load_data("requests", "validation", "small"))[:3]
    tokens = openers(model, wb.load_data("preference", source="small"))
    assert all(tokens)
    up, down = (
        head_effects(model, some.rotated(sign * unit), 0.2, chats, tokens) for sign in (1, -1)
    )
    central = [(a - b) / 2 for a, b in zip(up, down, strict=True)]
    assert head_slopes(model, some, 0.2, chats, tokens) == pytest.approx(
        central, rel=0.05, abs=1e-4
    )


def test_a_descendant_holds_its_upper_layers_alone(model):
    rows = wb.load_data("requests", source="small")
    recipe = Recipe(4e-5, 1, frozen=0.9, answer_tokens=4)
    tuned = fine_tune(model, rows, 1, recipe).model
    own = [
        name
        for (name, new), old in zip(tuned.hf.named_parameters(), model.hf.parameters(), strict=True)
        if new.data_ptr() != old.data_ptr()
    ]
    assert {name.split(".")[2] for name in own} == {"27", "28", "29"}
    assert tuned.fingerprint() != model.fingerprint()
