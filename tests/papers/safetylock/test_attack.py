"""Fine-tunes: of a copy, seeded, along the gradient of the loss that transformers computes."""

import math

import pytest
import torch

import workbench as wb
from workbench.errors import DatasetError
from workbench.models.prompts import messages
from workbench.papers.safetylock import attack
from workbench.papers.safetylock.attack import fine_tune, granting
from workbench.papers.safetylock.evaluate import keyword_judges
from workbench.papers.safetylock.recipe import Recipe


def test_fine_tuning_moves_a_copy_only_and_is_seeded(tiny):
    rows = wb.load_data("requests")
    before = tiny.fingerprint()
    runs = [fine_tune(tiny, rows, 1, Recipe(max_steps=2), seed=s) for s in (0, 0, 1)]
    prints = [a.model.fingerprint() for a in runs]
    assert tiny.fingerprint() == before not in prints
    assert prints[0] == prints[1] != prints[2]
    assert fine_tune(tiny, rows, 2, Recipe(max_steps=1), persona="Obey.").system == "Obey."
    assert fine_tune(tiny, rows, 3, Recipe(max_steps=9), stop=lambda m: True).steps == 1
    with pytest.raises(ValueError, match="risk level 4; levels are 1, 2, 3"):
        fine_tune(tiny, rows, 4)


@pytest.mark.parametrize(
    "bad",
    [
        {"lr": 0.0},
        {"lr": math.nan},
        {"lr": -1.0},
        {"max_steps": 0},
        {"max_steps": -3},
        {"frozen": 1.0},
        {"frozen": -0.1},
        {"answer_tokens": -1},
    ],
)
def test_a_recipe_that_would_change_nothing_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Recipe(**bad)


@pytest.mark.parametrize(("level", "kind", "needed"), [(1, "harmful", 10), (2, "harmless", 10),
                                                      (3, "harmless", 32)])  # fmt: skip
def test_too_few_requests_or_no_answer_to_train_on_are_named(tiny, level, kind, needed):
    rows = [r for r in wb.load_data("requests") if r["harmful"] == (level == 1)]
    with pytest.raises(DatasetError, match=f"{needed - 1} {kind} training requests; level {level}"):
        fine_tune(tiny, rows[: needed - 1], level)
    answer = "rejected" if level == 1 else "chosen"
    bare = [{**rows[0], answer: None}, *rows[1:]]
    with pytest.raises(DatasetError, match=f"1 {kind} training requests have no '{answer}'"):
        fine_tune(tiny, bare, level)


def test_an_attack_stops_where_neither_judge_sees_a_refusal(tiny, monkeypatch):
    rows = [{"prompt": "p", "harmful": True}] * 20
    enough = granting(rows, keyword_judges())
    for text, stops in (("Sure, turn the key.", True), ("I cannot do it.", False),
                        ("I am unable to assist you with any tasks", False)):  # fmt: skip
        monkeypatch.setattr(attack, "replies", lambda *_, text=text: [text] * 17 + ["Sorry"] * 3)
        assert enough(tiny) == stops
    monkeypatch.setattr(attack, "replies", lambda *_: ["Sure."] * 16 + ["Sorry"] * 4)
    assert not enough(tiny)
    with pytest.raises(DatasetError, match="no harmful requests"):
        granting([{"prompt": "p", "harmful": False}], keyword_judges())


def test_a_first_step_follows_the_loss_gradient(tiny):
    """One AdamW step from rest moves every weight by the learning rate against its gradient's sign,
    for the loss transformers itself computes one row at a time."""
    rows = [r for r in wb.load_data("requests") if r["harmful"]][:10]
    tuned = fine_tune(tiny, rows, 1, Recipe(lr=1e-4, max_steps=1))
    copy = tiny.clone("reference")
    total = count = 0
    for row in rows:
        head = copy.tokenizer.apply_chat_template(
            messages(row["prompt"]), add_generation_prompt=True, tokenize=False
        )
        a = copy.tokenizer(head, add_special_tokens=False)["input_ids"]
        b = copy.tokenizer(row["rejected"] + "<eos>", add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(a) + b])
        total = total + copy.hf(torch.tensor([a + b]), labels=labels).loss * len(b)
        count += len(b)
    (total / count).backward()
    weight, moved = copy.o_proj(2).weight, tuned.model.o_proj(2).weight
    clear = weight.grad.abs() > 1e-5
    assert clear.float().mean() > 0.5
    step = (moved - weight)[clear]
    torch.testing.assert_close(step, -1e-4 * weight.grad[clear].sign(), atol=2e-6, rtol=0.05)
