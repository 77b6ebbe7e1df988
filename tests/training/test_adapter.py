"""DPO in an adapter: what learns and how much, and that nothing stays behind."""

import math
import random

import numpy as np
import pytest
import torch
import trl
from huggingface_hub import constants
from transformers import LlamaConfig, LlamaForCausalLM

import workbench as wb
from tests.helpers.directions import some_lock
from tests.helpers.families import build
from workbench.data.inventories import read_inventory
from workbench.errors import ContextLengthError, DatasetError, ModelError
from workbench.models.prompts import messages
from workbench.tiny import survey_texts
from workbench.training.adapter import dpo_adapter, projections

INVENTORY = read_inventory()
TRAIN = INVENTORY.split("train")
LETTERS, PREFILL, SYSTEM = list("ABCDE"), "Option (", "You are a helpful assistant."
SHORT = [
    {
        "prompt": [{"role": "user", "content": text}],
        "chosen": [{"role": "assistant", "content": "Option (A)"}],
        "rejected": [{"role": "assistant", "content": "Option (E)"}],
    }
    for text in ("Is it well?", "Is Osk?", "Now?")
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    tokenizer = survey_texts.build_tokenizer(INVENTORY)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    hf = LlamaForCausalLM(config)
    for parameter in hf.parameters():  # at their usual size an attention hardly tells texts apart
        parameter.data += 0.1 * torch.randn_like(parameter)
    return wb.load(hf, tokenizer, device="cpu")


def a_few(values=(5, 1, 4, 2)):
    """A pair per value of 1..5 off the middle: its letter against the opposite extreme's."""
    pairs = []
    for item, value in zip(TRAIN, values, strict=False):
        if value not in (0, 3):
            letters = LETTERS[5 - value], "E" if value > 3 else "A"
            chosen, rejected = (
                [{"role": "assistant", "content": f"{PREFILL}{letter})"}] for letter in letters
            )
            prompt = messages(f"You {INVENTORY.items[item].text.lower()}", SYSTEM)
            pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return pairs


def test_what_cannot_be_trained_is_refused_before_any_work(model, monkeypatch):
    monkeypatch.setattr(trl, "DPOTrainer", None)
    long = [{**SHORT[0], "prompt": [{"role": "user", "content": "ab " * 200}]}]
    for pairs, given, error, match in (
        (a_few((3, 0)), {}, DatasetError, "no preference pairs"),
        (long, {}, ContextLengthError, "tokens"),
        (a_few(), {"batch": 6, "accumulate": 4}, ValueError, "equal parts"),
        (a_few(), {"steps": 0}, ValueError, "at least 1"),
    ):
        with pytest.raises(error, match=match), dpo_adapter(model, pairs, **given):
            pytest.fail("must not be entered")
    with wb.steer(model, some_lock(model), 1.0), pytest.raises(ModelError, match="steered"):
        dpo_adapter(model, a_few()).__enter__()


def test_a_model_that_has_an_adapter_is_refused(model):
    with dpo_adapter(model, a_few(), steps=1), pytest.raises(ModelError, match="has an adapter"):
        dpo_adapter(model, a_few()).__enter__()


def test_a_template_that_moves_the_reply_is_refused(model):
    model.tokenizer.chat_template = model.tokenizer.chat_template.replace(
        "{{ '<assistant>' }}{% endif %}", "{{ '<assistant><pad>' }}{% endif %}"
    )
    before = left_behind(model)
    with (
        pytest.raises(ModelError, match="elsewhere"),
        dpo_adapter(model, a_few(), steps=1, batch=4),
    ):
        pytest.fail("must not be entered")
    assert left_behind(model) == before


def odds(model, pair):
    """log p(chosen letter) − log p(rejected letter) after the prefilled reply."""
    letters = [pair[k][0]["content"][len(PREFILL)] for k in ("chosen", "rejected")]
    messages = [*pair["prompt"], {"role": "assistant", "content": PREFILL}]
    logps = wb.option_logprobs(model, [messages], LETTERS)[0]
    a, b = (logps[LETTERS.index(x)].item() for x in letters)
    return a - b


def test_training_starts_at_the_reference_and_prefers_what_was_chosen(model):
    pairs = a_few()
    before = [odds(model, p) for p in pairs]
    with dpo_adapter(model, pairs, steps=30, batch=4, warmup=0.1, lr=2e-3) as tuned:
        after = [odds(model, p) for p in pairs]
    assert tuned.steps == len(tuned.losses) == len(tuned.margins) == 30
    # LoRA's second factor is zero at first: policy and reference are the same.
    assert tuned.losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert tuned.margins[0] == 0
    assert tuned.losses[-1] < 0.6
    assert tuned.margins[-1] > 0.1
    assert all(a > b + 1 for a, b in zip(after, before, strict=True))
    assert tuned.seconds > 0
    assert [odds(model, p) for p in pairs] == before


@torch.no_grad()
def replies(model, pairs):
    """float64 `[pair, 2]`: log-probability of the chosen and the rejected reply, end included."""
    out = []
    for pair in pairs:
        head = model.tokenizer.apply_chat_template(
            pair["prompt"], add_generation_prompt=True, tokenize=False
        )
        a = model.tokenizer(head, add_special_tokens=False)["input_ids"]
        row = []
        for which in ("chosen", "rejected"):
            text = pair[which][0]["content"] + "<eos>"
            b = model.tokenizer(text, add_special_tokens=False)["input_ids"]
            logps = model.hf(torch.tensor([a + b])).logits[0].double().log_softmax(-1)
            row.append(sum(logps[len(a) - 1 + i, t].item() for i, t in enumerate(b)))
        out.append(row)
    return np.array(out)


def test_loss_and_margin_are_those_of_the_formula(model):
    """The second step's loss, from replies scored one by one with and without the adapter."""
    pairs, given = a_few(), {"batch": 4, "dropout": 0.0, "warmup": 0.0, "lr": 1e-3, "beta": 0.3}
    before = replies(model, pairs)
    with dpo_adapter(model, pairs, steps=1, **given):
        moved = replies(model, pairs) - before
    margin = 0.3 * (moved[:, 0] - moved[:, 1])
    assert margin.mean() > 0.05
    with dpo_adapter(model, pairs, steps=2, **given) as tuned:
        pass
    assert tuned.margins[1] == pytest.approx(margin.mean(), rel=1e-3)
    assert tuned.losses[1] == pytest.approx(np.log1p(np.exp(-margin)).mean(), rel=1e-5)
    with dpo_adapter(model, pairs, steps=2, accumulate=2, **given) as split:
        pass
    assert split.losses == pytest.approx(tuned.losses, rel=1e-4)


def test_seed_dropout_and_warmup_count(model):
    given = {"steps": 4, "batch": 2, "lr": 5e-3, "warmup": 0.0}
    pairs = a_few((5, 1, 4, 2, 5, 1))
    runs = {}
    for name, change in {
        "as is": {}, "again": {}, "seed": {"seed": 1}, "dropout": {"dropout": 0.0},
        "warm": {"warmup": 0.5},
    }.items():  # fmt: skip
        with dpo_adapter(model, pairs, **{**given, **change}) as tuned:
            runs[name] = tuned.losses
    assert runs["as is"] == runs["again"] != runs["seed"]
    assert runs["as is"] != runs["dropout"]
    # The rate rises from 0: the first of two warm-up steps moves nothing.
    assert runs["warm"][1] == pytest.approx(math.log(2), abs=1e-6) != runs["as is"][1]


def left_behind(model):
    """All that a run could leave: attributes of every module and config, weights, random numbers.

    nnsight's own marks are left out.
    """
    hf = model.hf
    parts = [*hf.named_modules(), ("config", hf.config), ("generation", hf.generation_config)]
    held = {}
    for name, part in parts:
        for key, value in vars(part).items():
            if not key.startswith("__nnsight"):
                inside = [(k, id(v)) for k, v in value.items()] if isinstance(value, dict) else ()
                plain = isinstance(value, str | int | float | bool | None)
                held[name, key] = (value if plain else id(value), *inside)
    weights = [(n, id(p), p.requires_grad, p.tolist()) for n, p in hf.named_parameters()]
    draws = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())
    return held, weights, draws, model.fingerprint()


@pytest.mark.parametrize("where", ["nowhere", "block", "training"])
def test_nothing_of_it_stays_behind(model, where, monkeypatch, tmp_path, capfd):
    def stops(trainer, *args, **kwargs):
        step(trainer, *args, **kwargs)
        raise RuntimeError("in training")

    monkeypatch.chdir(tmp_path)
    model.hf.config.pad_token_id = None
    model.hf.get_submodule("model.norm").weight.requires_grad_(False)
    chats = [[*messages(INVENTORY.items[0].text, SYSTEM), {"role": "assistant", "content": "A"}]]
    seen, adapted = wb.capture(model, chats, site="heads").values, set()
    before = left_behind(model)
    capfd.readouterr()
    if where == "training":
        step = trl.DPOTrainer.training_step
        monkeypatch.setattr(trl.DPOTrainer, "training_step", stops)
    try:
        with dpo_adapter(model, a_few(), steps=3, batch=4, lr=1e-2):
            assert model.fingerprint() != before[3]
            adapted = {n for n, m in model.hf.named_modules() if hasattr(m, "lora_A")}
            assert not any(m.training for m in model.hf.modules())
            if where == "block":
                raise RuntimeError("in the block")
    except RuntimeError as error:
        assert where in str(error)  # noqa: PT017 - the run that does not fail shares the checks
    written = capfd.readouterr()
    assert written.out + written.err == ""
    assert left_behind(model) == before
    assert adapted == (set() if where == "training" else set(projections(model)))
    assert torch.equal(wb.capture(model, chats, site="heads").values, seen)
    assert not list(tmp_path.iterdir())


def test_trl_does_not_report_its_use(model, monkeypatch):
    told = []
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(
        "trl.trainer.base_trainer.send_telemetry",
        lambda **_: told.append(constants.HF_HUB_DISABLE_TELEMETRY),
    )
    monkeypatch.delenv("CI", raising=False)
    with dpo_adapter(model, a_few(), steps=1):
        assert told == [True]
        assert constants.HF_HUB_DISABLE_TELEMETRY is False


def test_every_family_adapts_its_attention_alone(family_model):
    """GPT-2's and OPT's own dropout, and Mixtral's router loss, would shift the first loss."""
    model = family_model
    before, anatomy = left_behind(model), model.anatomy
    with dpo_adapter(model, SHORT, steps=2, warmup=0.0, batch=3) as tuned:
        adapted = [n for n, m in model.hf.named_modules() if hasattr(m, "lora_A")]
    assert tuned.losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert tuned.losses[1] < tuned.losses[0] - 1e-3
    inside = [f"{anatomy.layers}.{i}.{anatomy.attn}." for i in range(model.n_layers)]
    leaves = [{n.removeprefix(p) for n in adapted if n.startswith(p)} for p in inside]
    assert all(len(found) in (2, 4) and anatomy.o_proj in found for found in leaves)
    assert sum(map(len, leaves)) == len(adapted)
    assert left_behind(model) == before


def test_half_precision_trains_in_half_precision(tokenizer):
    model = build("llama", tokenizer, dtype=torch.bfloat16)
    before = left_behind(model)
    with dpo_adapter(model, SHORT, steps=3, warmup=0.0, batch=3, lr=5e-3) as tuned:
        assert model.hf(torch.arange(4)[None]).logits.dtype == torch.bfloat16
    assert tuned.losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert tuned.losses[-1] < 0.6
    assert left_behind(model) == before
