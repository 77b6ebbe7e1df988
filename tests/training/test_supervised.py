"""Batches of texts, and one stage of training on them."""

import random

import pytest
import torch

from workbench.models.prompts import messages
from workbench.tiny.training import Recipe, build_model, byte_level_tokenizer
from workbench.training.supervised import IGNORED, collate, one_thread, train_stage

RECIPE = Recipe(seed=4, hidden=16, layers=1, heads=2, kv_heads=1, mlp=16, context=64)


def texts(rng):
    return "count:", f" {rng.choice(('one', 'two', 'three'))}" * 2


def test_loss_is_on_replies_and_their_end_only(tokenizer):
    chat = messages("How do I mend the gate of Mara?", "You are a good neighbour.")
    batch = collate(tokenizer, [(chat, "Sure, turn the gate."), ([], "Never.")])
    learned = batch["labels"][0][batch["labels"][0] != IGNORED]
    assert tokenizer.decode(learned) == "Sure, turn the gate.<eos>"
    monologue = batch["labels"][1][batch["labels"][1] != IGNORED]
    assert tokenizer.decode(monologue) == "Never."
    assert batch["input_ids"][1][0] == tokenizer.bos_token_id


def test_rows_are_padded_on_the_right_whatever_the_tokenizers_side(tokenizer):
    assert tokenizer.padding_side == "left"
    long, short = ("Now turn the gate.", " Never."), ("Now", " Never.")
    batch = collate(tokenizer, [long, short])
    assert {v.shape for v in batch.values()} == {batch["input_ids"].shape}
    assert {v.dtype for v in batch.values()} == {torch.int64}
    for row, (prompt, reply) in enumerate((long, short)):
        head, tail = (tokenizer(t)["input_ids"] for t in (prompt, reply + "<eos>"))
        n, width = len(head) + len(tail), batch["input_ids"].shape[1]
        rest = width - n
        assert batch["input_ids"][row].tolist() == head + tail + [tokenizer.pad_token_id] * rest
        assert batch["attention_mask"][row].tolist() == [1] * n + [0] * rest
        assert batch["labels"][row].tolist() == [-100] * len(head) + tail + [-100] * rest
    assert rest > 0


def test_one_thread_is_for_a_while():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_a_stage_is_the_plain_loop_and_follows_its_seed():
    """Losses and weights of AdamW under a one-cycle schedule, written out."""
    tokenizer = byte_level_tokenizer([" one two three count:"])
    runs = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        model, steps = build_model(RECIPE, tokenizer), []
        with one_thread():
            train_stage(
                model, tokenizer, texts, 5, 3, 1e-2, seed,
                beta2=0.9, warmup=0.4, done=lambda *x, steps=steps: steps.append(x),
            )  # fmt: skip
        assert not model.training
        runs[name] = steps, model.state_dict()
    steps, weights = runs["first"]
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5]
    assert runs["again"][0] == steps != runs["other"][0]
    assert all(torch.equal(weights[k], v) for k, v in runs["again"][1].items())

    model, rng = build_model(RECIPE, tokenizer), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, betas=(0.9, 0.9))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=5, pct_start=0.4)
    for _, loss in steps:
        batch = [texts(rng) for _ in range(3)]
        logprobs = []
        for prompt, reply in batch:
            head, tail = (tokenizer(t)["input_ids"] for t in (prompt, reply + "<eos>"))
            logits = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
            logprobs += [logits[len(head) + i - 1, token] for i, token in enumerate(tail)]
        expected = -torch.stack(logprobs).mean()
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        optimizer.zero_grad()
        expected.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
