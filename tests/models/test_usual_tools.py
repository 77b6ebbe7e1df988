"""What leaves a model's function as it is: it is not refused, and its samples do not move."""

import accelerate
import peft
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module

import workbench as wb
from tests.helpers.families import build

IDS = torch.arange(3, 40)[None]
OPTIONS = {"max_new_tokens": 6}


class Bits(torch.nn.Linear):
    """As quantising libraries put a subclass of Linear in its place."""

    def __init__(self, plain):
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None)
        self.weight = plain.weight
        self.quant_state = {"blocksize": 64, "code": torch.arange(16.0)}


Bits.__module__ = "bitsandbytes.nn.modules"


def traced(model):
    with model.trace("Mend the gate"):
        model.layers[1].output.save()


def generated(model):
    with model.generate("Mend the gate", max_new_tokens=2):
        model.layers[1].mlp.output.save()


def failed_trace(model):
    with pytest.raises(Exception, match="index"), model.trace("Mend the gate"):
        model.layers[1].output[10**6].save()


def changed_in_a_trace(model):
    with model.trace("Mend the gate"):
        model.layers[1].mlp.output = model.layers[1].mlp.output * 2


def dispatched(model):
    accelerate.dispatch_model(model.hf, {"": "cpu"}, force_hooks=True)


def aligned(model):
    for layer in (model.layer(0), model.layer(1)):
        add_hook_to_module(layer, AlignDevicesHook(execution_device="cpu", io_same_device=True))


def prepared(model):
    accelerate.Accelerator(cpu=True).prepare_model(model.hf, evaluation_mode=True)


def checkpointing(model):
    model.hf.gradient_checkpointing_enable()


def checkpointing_on_and_off(model):
    model.hf.gradient_checkpointing_enable()
    model.hf.gradient_checkpointing_disable()


def requires_gradients(model):
    model.hf.enable_input_require_grads()


def compiled(model):
    model.hf.compile(backend="eager")


def a_layer_compiled(model):
    model.layer(1).mlp.compile(backend="eager")


def wrapped_layer(model):
    layers = model.hf.model.layers
    layers[1].mlp = torch.compile(layers[1].mlp, backend="eager")


def recorded(model):
    model.hf(IDS, output_hidden_states=True, output_attentions=True)


def quantised(model):
    for layer in range(model.n_layers):
        attn = model.layer(layer).self_attn
        attn.q_proj = Bits(attn.q_proj)


def adapted(model):
    peft.get_peft_model(model.hf, peft.LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))


def moved(model):
    model.hf.to("cpu", torch.float64).to(torch.float32)


def watched_before(model):
    model.layer(1).register_forward_hook(lambda *_: None).remove()


TOOLS = [
    traced, generated, failed_trace, changed_in_a_trace, dispatched, aligned, prepared,
    checkpointing, checkpointing_on_and_off, requires_gradients, compiled, a_layer_compiled,
    wrapped_layer, recorded, quantised, adapted, moved, watched_before,
]  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_usual_tools_are_no_false_alarm(tool, tokenizer, tmp_path):
    model = build("llama", tokenizer)
    before = wb.generate(model, ["Mend the gate", "Turn"], **OPTIONS)
    tool(model)
    for _ in range(2):
        store = tmp_path / "samples.sqlite"
        assert wb.generate(model, ["Mend the gate", "Turn"], store=store, **OPTIONS) == before
    with wb.SampleStore(store) as samples:
        assert len(samples) == 2
