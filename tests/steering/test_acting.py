"""Hooks act however the model is run, or say why they cannot; the truth is a forward by hand."""

import copy
import pickle
import threading

import pytest
import torch
from peft import LoraConfig, get_peft_model

import workbench as wb
from tests.helpers.directions import IDS, by_hand, some_lock, some_residual
from tests.helpers.families import build
from workbench.errors import DirectionError, SteeringError
from workbench.models.hooks import find_hook, reading, replacing

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture
def model(tokenizer):
    return build("llama", tokenizer)


def both(model):
    return [some_lock(model, k=12), some_residual(model)]


def compiled(model, part):
    """Compile a part of the model and run it once, so that a graph without hooks is there."""
    torch._dynamo.reset()
    options = {"backend": "eager"}
    run = model.hf
    if part == "model":
        model.hf.compile(**options)
    elif part == "wrapper":
        run = torch.compile(model.hf, **options)
    elif part == "stack":
        model.hf.model.compile(**options)
    elif part == "layers":
        for layer in model.hf.model.layers:
            layer.compile(**options)
    elif part == "projection":
        model.o_proj(0).compile(**options)
    elif part == "forward":
        model.hf.model.forward = torch.compile(model.hf.model.forward, **options)
    run(IDS)
    return run


@pytest.mark.parametrize("how", ["hook", "fold"])
@pytest.mark.parametrize("part", ["model", "wrapper", "stack", "layers", "projection", "forward"])
@torch.no_grad()
def test_a_compiled_model_is_steered_and_no_longer_afterwards(model, part, how):
    plain = model.hf(IDS).logits
    expected = by_hand(model, [(some_lock(model, k=12), 4.0)])
    run = compiled(model, part)
    with wb.steer(model, some_lock(model, k=12), 4.0, how=how):
        torch.testing.assert_close(run(IDS).logits, expected, **CLOSE)
    torch.testing.assert_close(run(IDS).logits, plain, **CLOSE)
    for alpha in (1.0, 2.0):
        with wb.steer(model, some_lock(model, k=12), alpha, how=how):
            got = run(IDS).logits
        assert (got - expected).abs().max() > 0.01
    assert (expected - plain).abs().max() > 0.1


@torch.no_grad()
def test_what_is_compiled_inside_the_block_does_not_keep_the_steering(model):
    plain, expected = model.hf(IDS).logits, by_hand(model, [(d, 2.0) for d in both(model)])
    torch._dynamo.reset()
    with wb.steer(model, both(model), 2.0, how="hook"):
        run = torch.compile(model.hf, backend="eager")
        torch.testing.assert_close(run(IDS).logits, expected, **CLOSE)
    torch.testing.assert_close(run(IDS).logits, plain, **CLOSE)


@torch.no_grad()
def test_blocks_of_several_threads_may_end_in_any_order(model):
    """The compiler's stance is the process's: the first to leave must not end it for the other."""
    lock = some_lock(model, k=12)
    expected = by_hand(model, [(lock, 4.0)])
    run = compiled(model, "model")
    entered, leave = threading.Event(), threading.Event()

    def background():
        with wb.steer(model, lock, 1.0, how="hook"):
            model.hf(IDS)
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=background)
    thread.start()
    entered.wait(60)
    with wb.steer(model, lock, 4.0, how="hook"):
        leave.set()
        thread.join()
        torch.testing.assert_close(run(IDS).logits, expected, **CLOSE)


@pytest.mark.parametrize("site", ["heads", "resid", "mlp"])
def test_captures_and_sae_hooks_of_a_compiled_model_are_the_eager_ones(model, site):
    texts = ["mend the gate", "touch"]
    expected = wb.capture(model, texts, site).values
    hook = find_hook(model.hf, "blocks.1.hook_resid_post")
    mask, value = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, model.d_model)
    with torch.no_grad(), reading(hook) as slot:
        model.hf(IDS)
    with torch.no_grad(), replacing(hook, mask, value):
        replaced = model.hf(IDS).logits
    for part in ("model", "layers"):
        compiled(model, part)
        torch.testing.assert_close(wb.capture(model, texts, site).values, expected, **CLOSE)
        with torch.no_grad(), reading(hook) as again:
            model.hf(IDS)
        torch.testing.assert_close(again.value, slot.value, **CLOSE)
        with torch.no_grad(), replacing(hook, mask, value):
            torch.testing.assert_close(model.hf(IDS).logits, replaced, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_a_forward_in_half_precision_leaves_the_next_one_exact(model, dtype):
    direction = some_residual(model, layers=(0,))
    expected = by_hand(model, [(direction, 1.0)])
    with wb.steer(model, direction, 1.0, how="hook"):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            model.hf(IDS)
        torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda hf: hf.lm_head(hf.model(IDS).last_hidden_state),
        lambda hf: hf.forward(IDS).logits,
        lambda hf: hf(input_ids=IDS).logits,
        lambda hf: hf(inputs_embeds=hf.get_input_embeddings()(IDS)).logits,
        lambda hf: hf(IDS, torch.ones_like(IDS)).logits,
        lambda hf: hf(IDS, return_dict=False)[0],
        lambda hf: torch.func.functional_call(hf, dict(hf.named_parameters()), (IDS,)).logits,
        lambda hf: torch.nn.DataParallel(hf)(IDS).logits,
        lambda hf: hf._replicate_for_data_parallel()(IDS).logits,
    ],
)
@pytest.mark.parametrize("mode", ["all", "last"])
@torch.no_grad()
def test_any_call_of_the_model_or_its_parts_is_steered(model, mode, call):
    last = slice(IDS.shape[1] - 1 if mode == "last" else 0, None)
    expected = by_hand(model, [(d, 2.0) for d in both(model)], columns=last)
    with wb.steer(model, both(model), 2.0, mode=mode, how="hook"):
        torch.testing.assert_close(call(model.hf), expected, **CLOSE)


class Past(torch.nn.Module):
    """Calls the code of a layer, not the layer."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner.forward(x)


def skip_a_layer(model):
    model.layer(0).forward = lambda hidden, *_, **__: hidden


def call_past_hooks(model):
    model.layer(0).self_attn.o_proj = Past(model.o_proj(0))


def repeat_a_layer(model):
    model.hf.model.layers.append(model.layer(0))
    model.hf.config.num_hidden_layers += 1


def replace_a_projection(model):
    old = model.o_proj(0)
    model.layer(0).self_attn.o_proj = torch.nn.Linear(old.in_features, old.out_features, bias=False)


@pytest.mark.parametrize(
    "change", [skip_a_layer, call_past_hooks, repeat_a_layer, replace_a_projection]
)
@torch.no_grad()
def test_a_hook_that_did_not_run_once_is_an_error(model, change):
    def act():
        with wb.steer(model, some_lock(model, k=18), 1.0, how="hook"):
            model.hf(IDS)
            change(model)
            model.hf(IDS)

    with pytest.raises(SteeringError, match=r"(o_proj|inner|a former layer) ran [02] times"):
        act()
    assert not model.hooked


def wrap(model, tokenizer):
    get_peft_model(model.hf, LoraConfig(r=2, target_modules=["o_proj"]))


def swap(model, tokenizer):
    model._module = build("llama", tokenizer, seed=1).hf


@pytest.mark.parametrize("change", [wrap, swap])
@torch.no_grad()
def test_what_is_wrapped_or_swapped_inside_the_block_is_an_error(model, tokenizer, change):
    def act():
        with wb.steer(model, some_lock(model), 1.0, how="hook"):
            change(model, tokenizer)
            model.hf(IDS)

    with pytest.raises(SteeringError, match="replaced or wrapped"):
        act()


def scaled(model):
    model.o_proj(0).weight.data *= 3


def loaded(model):
    model.o_proj(0).load_state_dict({"weight": -model.o_proj(0).weight.detach()}, strict=False)


def handed_over(model):
    state = {"model.layers.0.self_attn.o_proj.weight": 2 * model.o_proj(0).weight.detach()}
    torch.func.functional_call(model.hf, state, (IDS,))


def switched_off_for_a_while(model):
    for layer in range(model.n_layers):
        model.o_proj(layer).enable_adapters(False)
    try:
        model.hf(IDS)
    finally:
        for layer in range(model.n_layers):
            model.o_proj(layer).enable_adapters(True)


def merged(model):
    for layer in range(model.n_layers):
        model.o_proj(layer).merge()


def adapted(model, tokenizer):
    config = LoraConfig(r=2, target_modules=["o_proj"], init_lora_weights=False)
    return wb.load(get_peft_model(model.hf, config), tokenizer)


@pytest.mark.parametrize("how", ["hook", "fold"])
@pytest.mark.parametrize("change", [scaled, loaded, handed_over, switched_off_for_a_while])
@torch.no_grad()
def test_layers_that_change_while_their_shift_stays_are_an_error(model, tokenizer, how, change):
    model = adapted(model, tokenizer) if change is switched_off_for_a_while else model

    def act():
        with wb.steer(model, some_lock(model, k=18), 1.0, how=how):
            model.hf(IDS)
            change(model)
            model.hf(IDS)

    with pytest.raises(SteeringError, match=r"o_proj was changed while it was steered"):
        act()
    assert not model.hooked
    assert not model.folds


@pytest.mark.parametrize("mode", ["all", "last"])
@torch.no_grad()
def test_an_adapter_merged_inside_the_block_leaves_its_shift(model, tokenizer, mode):
    model = adapted(model, tokenizer)
    with wb.steer(model, some_lock(model, k=18), 1.0, mode=mode, how="hook"):
        expected = model.hf(IDS).logits
        merged(model)
        torch.testing.assert_close(model.hf(IDS).logits, expected, **CLOSE)


@pytest.mark.parametrize("how", ["hook", "fold"])
def test_a_copy_that_would_stay_steered_is_refused(model, how):
    with wb.steer(model, some_lock(model), 1.0, how=how):
        with pytest.raises(SteeringError, match="would stay steered"):
            copy.deepcopy(model.hf)
        with pytest.raises(SteeringError, match="would stay steered"):
            pickle.dumps(model.hf)
    copy.deepcopy(model.hf)


@torch.no_grad()
def test_a_layer_copied_inside_the_block_is_not_steered_after_it(model):
    hidden = torch.randn(1, 4, model.d_model)
    plain = model.layer(0).mlp(hidden)
    with wb.steer(model, some_residual(model), 2.0, how="hook"):
        mlp = copy.deepcopy(model.layer(0).mlp)
    assert torch.equal(mlp(hidden), plain)


@pytest.mark.parametrize("how", ["hook", "fold"])
def test_layers_that_share_a_module_are_refused(model, how):
    model.hf.model.layers[2] = model.hf.model.layers[0]
    with (
        pytest.raises(DirectionError, match=r"layers \[0, 2\] share one module"),
        wb.steer(model, some_residual(model), 1.0, how=how),
    ):
        pass


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize(("mode", "inside"), [("all", True), ("all", False), ("last", True)])
def test_gradients_through_checkpointing_are_those_without_it_or_an_error(
    model, mode, inside, reentrant
):
    """The second pass of a layer runs its hooks again: out of any forward, or of the block."""

    def gradient():
        model.hf.zero_grad()
        with wb.steer(model, [some_lock(model), some_residual(model)], 2.0, mode=mode, how="hook"):
            loss = model.hf(IDS, labels=IDS, use_cache=False).loss
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return model.layer(0).mlp.up_proj.weight.grad.clone()

    model.hf.train()
    expected = gradient()
    model.hf.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.hf.enable_input_require_grads()
    if mode == "all" and inside:
        torch.testing.assert_close(gradient(), expected)
    else:
        with pytest.raises(SteeringError, match="gradient checkpointing"):
            gradient()


@torch.no_grad()
def test_a_layer_run_by_itself_is_steered_where_all_tokens_are(model):
    hidden = torch.randn(1, 4, model.d_model)
    norm = model.layer(0).mlp
    plain = norm(hidden)
    with wb.steer(model, some_residual(model), 2.0, how="hook"):
        assert (norm(hidden) - plain).abs().max() > 0.01
    with wb.steer(model, some_residual(model), 2.0, mode="last"):
        model.hf(IDS)
        with pytest.raises(SteeringError, match="outside a forward"):
            norm(hidden)


@torch.no_grad()
def test_a_layer_that_sees_a_part_of_the_tokens_is_an_error(model):
    mlp = model.layer(0).mlp
    forward = mlp.forward
    mlp.forward = lambda x: torch.cat([forward(x[:, :2]), x[:, 2:]], 1)
    with (
        pytest.raises(SteeringError, match="sees a part of them"),
        wb.steer(model, some_residual(model), 1.0, how="hook"),
    ):
        model.hf(IDS)


def in_thread(act):
    caught = []

    def run():
        try:
            act()
        except Exception as error:  # noqa: BLE001 - handed to the test
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught


def test_a_background_block_whose_work_runs_in_other_threads_is_an_error(model):
    def act():
        with wb.steer(model, some_lock(model), 1.0, how="hook"):
            assert not in_thread(lambda: model.hf(IDS))

    (error,) = in_thread(act)
    assert isinstance(error, SteeringError)
    assert "run it in the thread of the block" in str(error)


@torch.no_grad()
def test_forwards_of_two_threads_at_once_keep_their_own_tokens(model):
    """A main thread's block steers every thread: what is steered in one is not another's."""
    long = torch.cat([IDS, IDS], 1)
    expected = [by_hand(model, [(d, 2.0) for d in both(model)], ids, slice(ids.shape[1] - 1, None))
                for ids in (IDS, long)]  # fmt: skip
    barrier, got = threading.Barrier(2, timeout=60), {}

    def meet(*_):
        barrier.wait()

    first = model.layer(0).register_forward_pre_hook(meet)

    def run(i, ids):
        with torch.no_grad():
            got[i] = model.hf(ids).logits

    with wb.steer(model, both(model), 2.0, mode="last"):
        threads = [threading.Thread(target=run, args=x) for x in enumerate((IDS, long))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    first.remove()
    for i in range(2):
        torch.testing.assert_close(got[i], expected[i], **CLOSE)
