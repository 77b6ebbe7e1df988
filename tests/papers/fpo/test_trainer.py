"""The trainer beside TRL's own, the reference online and offline, and what it refuses."""

import copy
import inspect
import json
import logging

import pytest
import torch
from datasets import IterableDataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from tests.helpers.fpo_toys import llama, preference_pairs, tokenizer, toy_sae
from workbench.errors import CacheMismatch, FeatureError, PairError
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.sae.pooling import response_mask

PAIRS = preference_pairs()

COMMON = {
    "max_steps": 5,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "seed": 3,
    "beta": 2.0,
}


def config(folder, **given):
    return FPOConfig(output_dir=str(folder), **{**COMMON, "fpo_k": 8, **given})


def trained(folder, model=None, sae=None, pairs=PAIRS, ref_model=None, peft_config=None,
            eval_dataset=None, **given):  # fmt: skip
    args = config(folder, **given)
    trainer = FPOTrainer(
        copy.deepcopy(model or llama()),
        args=args,
        ref_model=ref_model,
        train_dataset=pairs,
        eval_dataset=eval_dataset,
        processing_class=tokenizer(),
        sae=(sae or toy_sae()) if args.loss == "fpo" else None,
        peft_config=peft_config,
    )
    trainer.train()
    return trainer


def curve(trainer, name="loss"):
    return [h[name] for h in trainer.state.log_history if name in h]


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


# Adam divides by small numbers and large steps saturate: rounding then grows without bound.
SGD = {"optim": "sgd", "learning_rate": 0.05, "beta": 0.5}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"loss": "fpo", "fpo_alpha": 0.0}, "sigmoid_norm"),
        ({"loss": "sigmoid_norm"}, "sigmoid_norm"),
        ({"loss": "sigmoid"}, "sigmoid"),
    ],
)
def test_without_a_constraint_it_is_trls_trainer_bit_for_bit(tmp_path, ours, theirs):
    online = trained(tmp_path / "on", reference="online", **ours)
    stock = DPOTrainer(
        llama(),
        llama(),
        args=DPOConfig(
            output_dir=str(tmp_path / "stock"), loss_type=[theirs], bf16=False, **COMMON
        ),
        train_dataset=PAIRS,
        processing_class=tokenizer(),
    )
    stock.train()
    assert curve(online) == curve(stock)
    assert torch.equal(weights(online), weights(stock))
    assert not torch.equal(weights(stock), torch.cat([p.flatten() for p in llama().parameters()]))
    # The offline pass batches by length, so that its reference differs in the last bits.
    offline = trained(tmp_path / "off", reference="offline", **ours)
    assert curve(offline) == pytest.approx(curve(stock), abs=1e-5)


@pytest.fixture(scope="module")
def offline_by_kind(tmp_path_factory):
    """Kind of SAE → a trainer that has trained on it with an offline reference, made once."""
    trainers = {}

    def trainer(kind):
        if kind not in trainers:
            folder = tmp_path_factory.mktemp(kind)
            trainers[kind] = trained(folder, fpo_alpha=0.5, sae=toy_sae(kind), **SGD)
        return trainers[kind]

    return trainer


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_offline_is_online(tmp_path, kind, offline_by_kind):
    offline = offline_by_kind(kind)
    online = trained(tmp_path, fpo_alpha=0.5, sae=toy_sae(kind), reference="online", **SGD)
    assert max(curve(offline, "fpo/d_rejected")) > 1e-3
    for name in ("loss", "fpo/d_rejected", "fpo/d_chosen"):
        assert curve(offline, name) == pytest.approx(curve(online, name), abs=1e-6)
    assert (weights(offline) - weights(online)).abs().max() <= 1e-6


def test_lora_offline_is_online_and_the_reference_is_the_bare_model(tmp_path):
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    given = {"fpo_alpha": 0.5, "peft_config": lora, **SGD}
    offline = trained(tmp_path / "off", reference="offline", **given)
    online = trained(tmp_path / "on", reference="online", **given)
    assert online.ref_model is None
    assert curve(offline) == pytest.approx(curve(online), abs=1e-6)
    assert (weights(offline) - weights(online)).abs().max() <= 1e-6
    # Other adapter weights, same reference: the cache is found, not refused.
    trained(tmp_path / "b", cache_dir=str(tmp_path / "off/ref_cache"), **{**given, "seed": 4})


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_a_wider_padding_changes_nothing(tmp_path, kind, offline_by_kind):
    narrow = offline_by_kind(kind)
    wide = trained(tmp_path, fpo_alpha=0.5, sae=toy_sae(kind), pad_to_multiple_of=32, **SGD)
    for name in ("loss", "fpo/d_rejected"):
        assert curve(narrow, name) == pytest.approx(curve(wide, name), abs=1e-6)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(tmp_path, reentrant, offline_by_kind):
    plain = offline_by_kind("topk")
    checkpointed = trained(
        tmp_path,
        fpo_alpha=0.5,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": reentrant},
        **SGD,
    )
    assert curve(plain) == pytest.approx(curve(checkpointed), abs=1e-6)
    assert (weights(plain) - weights(checkpointed)).abs().max() <= 1e-6


def test_a_captured_activation_without_gradient_stops_the_run(tmp_path):
    frozen = llama()
    for parameter in (
        *frozen.model.embed_tokens.parameters(),
        *frozen.model.layers[:2].parameters(),
    ):
        parameter.requires_grad_(False)
    with pytest.raises(RuntimeError, match="no gradient"):
        trained(tmp_path, model=frozen, sae=toy_sae(layer=1))


def test_what_is_read_is_the_stream_before_the_final_norm(tmp_path):
    """Encoding after the final norm, as the released code does, gives another distance."""
    sae = toy_sae("jumprelu", layer=2)
    trainer = trained(tmp_path, sae=sae, fpo_alpha=0.5)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    _, hidden = trainer.run(trainer.model, batch, whole=False)
    states = trainer.model(
        batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
    ).hidden_states
    assert torch.allclose(trainer.model.model.norm(hidden), states[-1], atol=1e-5)
    assert not torch.allclose(hidden, states[-1], atol=1e-1)


def test_logged_d_is_the_distance_between_two_plain_forwards(tmp_path):
    """The first batch, after training: D by hand from the saved policy and the initial model."""
    sae = toy_sae("jumprelu")
    trainer = trained(tmp_path, sae=sae, fpo_alpha=0.5, eval_dataset=PAIRS.select(range(6)),
                      per_device_eval_batch_size=6)  # fmt: skip
    logged = trainer.evaluate()
    rows = trainer.eval_dataset
    d = []
    for side in ("chosen_ids", "rejected_ids"):
        for row in rows:
            ids = torch.tensor([row["prompt_ids"] + row[side]])
            start = len(row["prompt_ids"]) - 1
            pooled = []
            for model in (trainer.model, llama()):
                h = model(ids, output_hidden_states=True).hidden_states[2][0, start:-1]
                pooled.append((sae.encode(h) * sae.W_dec.norm(dim=1)).mean(0))
            tops = [set(p.topk(8).indices[p.topk(8).values > 0].tolist()) for p in pooled]
            d.append(sum((pooled[0][i] - pooled[1][i]) ** 2 for i in tops[0] | tops[1]).item() / 8)
    assert logged["eval_fpo/d_chosen"] == pytest.approx(sum(d[:6]) / 6, rel=1e-4)
    assert logged["eval_fpo/d_rejected"] == pytest.approx(sum(d[6:]) / 6, rel=1e-4)


def test_timeline_sums_to_the_logged_distance(tmp_path):
    trainer = trained(tmp_path, fpo_alpha=0.5)
    lines = [json.loads(x) for x in (tmp_path / "feature_timeline.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [1, 2, 3, 4, 5]
    assert [x["d_rejected"] for x in lines] == pytest.approx(
        curve(trainer, "fpo/d_rejected"), rel=1e-3, abs=1e-6
    )
    assert sum(lines[-1]["shares"]) == pytest.approx(lines[-1]["d_rejected"], rel=1e-5)


def test_the_sae_is_neither_trained_nor_saved(tmp_path):
    sae = toy_sae("jumprelu")
    before = copy.deepcopy(sae.state_dict())
    trainer = trained(tmp_path, sae=sae, fpo_alpha=0.5)
    trainer.save_model(str(tmp_path / "saved"))
    assert all(p.grad is None for p in trainer.sae.parameters())
    assert all(torch.equal(before[k], v) for k, v in trainer.sae.state_dict().items())
    assert set(trainer.model.state_dict()) == set(llama().state_dict())
    assert (tmp_path / "saved/training_args.bin").stat().st_size < 50_000


def test_one_cache_serves_a_sweep(tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    trained(tmp_path / "a", cache_dir=cache)
    calls = []
    monkeypatch.setattr(FPOTrainer, "as_reference", lambda self: calls.append(1))
    for given in ({"fpo_alpha": 3.0, "beta": 0.3}, {"fpo_k": 3, "fpo_topk": "ref"},
                  {"loss": "sigmoid_norm"}, {"loss": "sigmoid"}):  # fmt: skip
        trained(tmp_path / "b", cache_dir=cache, **given)
    assert calls == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("model", {"model": llama(seed=9)}),
        ("sae", {"sae": toy_sae(seed=9)}),
        ("hook", {"sae_hook": "blocks.0.hook_resid_post"}),
        ("pool", {"fpo_pool": "sum"}),
        ("decoder_scale", {"fpo_decoder_scale": False}),
        ("max_length", {"max_length": 12}),
        ("dataset", {"pairs": preference_pairs(seed=9)}),
        ("dtype", {"cache_dtype": "float16"}),
    ],
)
def test_a_cache_of_another_setting_is_refused(tmp_path, field, change, offline_by_kind):
    cache = str(offline_by_kind("topk").offline.root)
    with pytest.raises(CacheMismatch, match=field):
        trained(tmp_path, cache_dir=cache, max_steps=1, **change)


def test_half_precision_values_are_near(tmp_path, offline_by_kind):
    full = offline_by_kind("topk")
    half = trained(tmp_path, fpo_alpha=0.5, cache_dtype="float16", **SGD)
    assert curve(half, "fpo/d_rejected")[0] < 1e-5  # not exactly 0 at step 0, as it is in float32
    assert curve(full, "fpo/d_rejected")[0] < 1e-10
    assert curve(half) == pytest.approx(curve(full), abs=1e-3)
    assert curve(half) != curve(full)


def test_evaluation_sets_given_late_need_a_reference(tmp_path):
    late = preference_pairs(5, seed=7)
    trainer = trained(tmp_path / "a", fpo_alpha=0.5)
    with pytest.raises(ValueError, match="no `ref_model` was provided"):
        trainer.evaluate(late)
    offline = trained(tmp_path / "b", fpo_alpha=0.5, ref_model=llama()).evaluate(late)
    online = trained(tmp_path / "c", fpo_alpha=0.5, reference="online").evaluate(late)
    assert offline["eval_fpo/d_rejected"] == pytest.approx(online["eval_fpo/d_rejected"], rel=1e-3)


def test_tdpo_reads_the_whole_distribution_of_a_live_reference(tmp_path):
    trainer = trained(tmp_path, loss="tdpo2", reference="online", beta=0.1, fpo_alpha=0.5)
    assert curve(trainer, "kl/rejected")[0] == pytest.approx(0, abs=1e-5)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.train()
    trainer._metrics["train"].clear()
    loss = trainer.compute_loss(trainer.model, batch).item()
    got = {k: v[-1] for k, v in trainer._metrics["train"].items()}
    mask = response_mask(batch["completion_mask"])
    kl, ratio = [], []
    for b in range(len(mask)):
        lp = trainer.model(batch["input_ids"][b : b + 1]).logits[0].double().log_softmax(-1)
        lr = llama()(batch["input_ids"][b : b + 1]).logits[0].double().log_softmax(-1)
        at = [t for t in range(mask.shape[1]) if mask[b, t]]
        kl.append(sum((lr[t].exp() * (lr[t] - lp[t])).sum().item() for t in at))
        ids = batch["input_ids"][b]
        ratio.append(sum((lp[t, ids[t + 1]] - lr[t, ids[t + 1]]).item() for t in at))
    half = len(kl) // 2
    assert got["kl/rejected"] == pytest.approx(sum(kl[half:]) / half, rel=1e-4)
    u = [0.1 * (ratio[i] - ratio[i + half]) - 0.05 * (kl[i + half] - kl[i]) for i in range(half)]
    expected = -torch.nn.functional.logsigmoid(torch.tensor(u)).mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_is_not_finite_names_pair_and_term(tmp_path):
    args = config(tmp_path, loss="sigmoid_norm")
    trainer = FPOTrainer(llama(), args=args, train_dataset=PAIRS, processing_class=tokenizer())
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.train()
    batch["ref_rejected_logps"][1] = float("nan")
    row = int(batch["fpo_row"][1])
    with pytest.raises(FloatingPointError, match=rf"train pair {row}: rewards/rejected is nan"):
        trainer.compute_loss(trainer.model, batch)


def test_saturation_is_reported(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trained(tmp_path, fpo_alpha=3000.0, sae=toy_sae("jumprelu"))
    assert "times the score margin" in caplog.text


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"sae": toy_sae(d=16)}, FeatureError, "16"),
        ({"sae": toy_sae(layer=7)}, FeatureError, "layer 7, but the model has 3 layers"),
        ({"sae_hook": "blocks.0.hook_q"}, FeatureError, "hook_resid_post"),
        ({"fpo_k": 65}, ValueError, "fpo_k=65 of 64"),
    ],
)
def test_an_sae_that_does_not_fit_is_refused(tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        trained(tmp_path, **given)


def test_streams_need_an_online_reference(tmp_path):
    stream = IterableDataset.from_generator(lambda: iter(PAIRS.to_list()))
    with pytest.raises(ValueError, match="online"):
        trained(tmp_path, pairs=stream)
    online = trained(tmp_path, pairs=stream, reference="online", fpo_alpha=0.5)
    assert len(curve(online)) == 5


def test_prompts_that_fill_the_context_are_counted(tmp_path, caplog):
    long = {"prompt": "<s>" + " w1" * 40, "chosen": " w2 </s>", "rejected": " w3 </s>"}
    pairs = PAIRS.add_item(long)
    with caplog.at_level(logging.WARNING):
        trainer = trained(tmp_path, pairs=pairs, max_length=30, max_steps=1)
    assert len(trainer.train_dataset) == len(PAIRS)
    assert "1 pairs dropped, their prompt alone fills max_length=30" in caplog.text


def test_conversations_need_a_template(tmp_path):
    row = {c: [{"role": r, "content": "w1"}] for c, r in
           (("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant"))}  # fmt: skip
    with pytest.raises(PairError, match="CHAT_TEMPLATE"):
        trained(tmp_path, pairs=PAIRS.from_list([row, row]))


def test_what_is_overridden_is_still_there():
    """The private parts of TRL this trainer replaces or calls."""
    assert list(inspect.signature(DPOTrainer._precompute_ref_logps).parameters) == [
        "self", "dataset", "name", "batch_size",
    ]  # fmt: skip
    assert list(inspect.signature(DPOTrainer._prepare_dataset).parameters) == [
        "self", "dataset", "processing_class", "args", "dataset_name",
    ]  # fmt: skip
    source = inspect.getsource(DPOTrainer.__init__)
    assert "add_fused_lm_head" in source
    assert "self._precompute_ref_logps(" in source
    assert "_signature_columns" in inspect.getsource(DPOTrainer._set_signature_columns_if_needed)
