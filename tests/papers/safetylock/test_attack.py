"""Fine-tunes: of a copy, seeded, along the gradient of the loss that transformers computes."""

import pytest
import torch

import workbench as wb
from workbench.models.prompts import messages
from workbench.papers.safetylock.attack import fine_tune


def test_fine_tuning_moves_a_copy_only_and_is_seeded(tiny):
    rows = wb.load_data("requests")
    before = tiny.fingerprint()
    runs = [fine_tune(tiny, rows, 1, max_steps=2, seed=s) for s in (0, 0, 1)]
    prints = [a.model.fingerprint() for a in runs]
    assert tiny.fingerprint() == before not in prints
    assert prints[0] == prints[1] != prints[2]
    assert fine_tune(tiny, rows, 2, persona="Obey.", max_steps=1).system == "Obey."
    assert fine_tune(tiny, rows, 3, stop=lambda m: True, max_steps=9).steps == 1
    with pytest.raises(ValueError, match="risk level 4; levels are 1, 2, 3"):
        fine_tune(tiny, rows, 4)


def test_a_first_step_follows_the_loss_gradient(tiny):
    """One AdamW step from rest moves every weight by the learning rate against its gradient's sign,
    for the loss transformers itself computes one row at a time."""
    rows = [r for r in wb.load_data("requests") if r["harmful"]][:10]
    tuned = fine_tune(tiny, rows, 1, max_steps=1, lr=1e-4)
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
