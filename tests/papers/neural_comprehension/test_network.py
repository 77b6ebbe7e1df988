"""A compiled network's life: read, refuse, save, load, cast; and what it will not read."""

import copy
import json
import runpy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import workbench as wb
from workbench.errors import ModelError, ProgramInputError, UncertifiedDtypeError
from workbench.papers.neural_comprehension.certificate import certify
from workbench.papers.neural_comprehension.configuration import CoNNConfig
from workbench.papers.neural_comprehension.network import CoNNModel, compile_program
from workbench.papers.neural_comprehension.programs import parity
from workbench.papers.neural_comprehension.tasks import TASKS, task

SUMS = ["12+34=", "999+1=", "0+0=", "58+7=", "1+99999="]


@pytest.fixture
def addition():
    return copy.deepcopy(task("addition").network(16))


@pytest.fixture
def saved(addition, tmp_path):
    certify(addition)
    addition.save_pretrained(tmp_path / "addition")
    return tmp_path / "addition"


def outputs(network):
    return network(network.encode(SUMS), output_hidden_states=True, output_attentions=True)


@pytest.mark.parametrize("loader", [CoNNModel, AutoModel], ids=["own", "auto"])
def test_a_network_comes_back_bit_by_bit(loader, addition, saved):
    again, report = loader.from_pretrained(saved, output_loading_info=True)
    assert type(again) is CoNNModel
    assert not report["missing_keys"]
    assert again.dtype == torch.float32
    assert not again.training
    assert not any(weight.requires_grad for weight in again.parameters())
    before, after = addition.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(before[name].equal(after[name]) for name in before)
    ours, theirs = outputs(addition), outputs(again)
    for name in ("hidden_states", "attentions"):
        for a, b in zip(ours[name], theirs[name], strict=True):
            assert (a is None and b is None) or a.equal(b)
    assert ours.logits.equal(theirs.logits)
    stored = AutoConfig.from_pretrained(saved)
    assert stored.certificate == addition.config.certificate
    assert again.config.labels == addition.config.labels
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors"}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_importing_the_package_registers_nothing_and_a_module_read_twice_is_well():
    code = "import sys, workbench; assert not {'transformers', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    try:
        runpy.run_module("workbench.papers.neural_comprehension.network")
    finally:
        AutoModel.register(CoNNConfig, CoNNModel, exist_ok=True)
    assert "wb_conn" in CONFIG_MAPPING


def test_load_names_what_loads_a_compiled_network(saved, tmp_path):
    with pytest.raises(ModelError, match=r"no language model.*CoNNModel.from_pretrained\("):
        wb.load(saved)
    (tmp_path / "config.json").write_text('{"model_type": "conn"}')
    with pytest.raises(ModelError, match=r"published_networks.load_published"):
        wb.load(tmp_path)


def edit(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content = {k: v for k, v in (content | changes).items() if v != "removed"}
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("key", ["vocabulary", "between", "end", "outputs", "window", "d_model",
                                 "heads", "head_dims", "units"])  # fmt: skip
def test_a_config_that_lacks_a_key_is_named(key, saved):
    edit(saved, **{key: "removed"})
    for loader in (CoNNModel, AutoModel, AutoConfig):
        with pytest.raises(ModelError, match=f"lacks {key}"):
            loader.from_pretrained(saved)


@pytest.mark.parametrize(
    "change",
    [{"d_model": 60}, {"window": 15}, {"units": [45, 7, 22]}, {"heads": [3, 1, 1, "x"]},
     {"vocabulary": ["0"]}, {"certificate": "yes"}, {"certificate": {"dtypes": {"float32": {}}}},
     {"certificate": {}}, {"certificate": {"dtypes": {"float32": {"max_len": "16"}}}}],
    ids=repr,
)  # fmt: skip
def test_a_config_that_does_not_fit_the_weights_is_refused(change, saved):
    edit(saved, **change)
    with pytest.raises(ModelError, match=str(saved)):
        CoNNModel.from_pretrained(saved)


def test_other_weights_than_those_certified_are_refused(saved):
    path = saved / "model.safetensors"
    weights = load_file(path)
    weights["layers.2.o.weight"][-1, 0] += 1
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ModelError, match="not those of its certificate"):
        AutoModel.from_pretrained(saved)
    edit(saved, certificate=None)
    assert CoNNModel.from_pretrained(saved).config.certificate is None


CHANGED = {
    "outputs": lambda config: config["outputs"][1:] + config["outputs"][:1],
    "vocabulary": lambda config: ["1", "0", *config["vocabulary"][2:]],
    "between": lambda config: [],
    "end": lambda config: "",
    "program": lambda config: "subtraction",
}


@pytest.mark.parametrize("key", CHANGED)
def test_a_config_that_makes_other_answers_of_the_same_weights_is_refused(key, saved):
    edit(saved, **{key: CHANGED[key](json.loads((saved / "config.json").read_text()))})
    with pytest.raises(ModelError, match="not those of its certificate"):
        CoNNModel.from_pretrained(saved)


def test_heads_cut_otherwise_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    heads, widths = config["heads"], config["head_dims"]
    edit(saved, heads=[1, *heads[1:]], head_dims=[heads[0] * widths[0], *widths[1:]])
    with pytest.raises(ModelError, match="not those of its certificate"):
        CoNNModel.from_pretrained(saved)


@pytest.mark.parametrize("change", [{"outputs": [*range(11)]}, {"end": None}], ids=repr)
def test_symbols_that_are_no_text_are_refused(change, saved):
    edit(saved, **change)
    with pytest.raises(ModelError, match="symbols are texts"):
        CoNNModel.from_pretrained(saved)


@pytest.mark.parametrize("dtype", ["no_such", torch.int8, 5, "nn"], ids=repr)
def test_what_is_no_dtype_of_weights_is_refused(dtype, saved):
    with pytest.raises(ValueError, match="must be one of floating point"):
        CoNNModel.from_pretrained(saved, dtype=dtype)


def test_missing_and_damaged_weights_are_refused(saved):
    path = saved / "model.safetensors"
    weights = load_file(path)
    del weights["layers.1.q.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"missing \(layers.1.q.weight"):
        CoNNModel.from_pretrained(saved)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="no compiled network can be loaded"):
        CoNNModel.from_pretrained(saved)
    with pytest.raises(ModelError, match="no compiled network can be loaded"):
        CoNNModel.from_pretrained(saved / "nowhere")


def test_float32_needs_no_certificate_and_other_dtypes_do(addition):
    assert [task("addition").spelled(row) for row in addition.read(SUMS)] == [
        "46", "1000", "0", "65", "100000"]  # fmt: skip
    for cast in ("half", "bfloat16"):
        network = getattr(copy.deepcopy(addition), cast)()
        with pytest.raises(UncertifiedDtypeError, match=r"addition in b?float16 on 8 symbols"):
            network.read(SUMS)
        network.allow_uncertified = True
        assert network.read(SUMS) == addition.read(SUMS)
        network.allow_uncertified = False
        assert network.float().read(SUMS) == addition.read(SUMS)
    with pytest.raises(UncertifiedDtypeError, match="float8"):
        copy.deepcopy(addition).to(torch.float8_e4m3fn).read(SUMS)
    mixed = copy.deepcopy(addition)
    mixed.layers[2].half()
    with pytest.raises(UncertifiedDtypeError, match=r"float16 and float32 .*mixed"):
        mixed.read(SUMS)
    with pytest.raises(UncertifiedDtypeError, match=r"float32 and float64 .*mixed"):
        mixed.layers[2].double() and mixed.read(SUMS)
    certify(addition, dtypes=["bfloat16"])
    assert addition.to(torch.bfloat16).read(SUMS) == task("addition").network(16).read(SUMS)
    with pytest.raises(UncertifiedDtypeError):
        addition.half().read(SUMS)


def test_a_dtype_is_asked_for_on_loading_and_checked_on_reading(saved):
    network = CoNNModel.from_pretrained(saved, dtype="bfloat16")
    assert network.dtype == torch.bfloat16
    assert network.read(SUMS) == task("addition").network(16).read(SUMS)
    edit(saved, certificate=None)
    with pytest.raises(UncertifiedDtypeError, match="bfloat16"):
        AutoModel.from_pretrained(saved, dtype=torch.bfloat16).read(SUMS)


def test_lengths_beyond_the_certificate_are_refused():
    network = copy.deepcopy(task("parity").network(16))
    network.config.certificate = {"dtypes": {"float32": {"max_len": 5}}}
    assert network.read(["11111"]) == [["1"] * 5]
    with pytest.raises(UncertifiedDtypeError, match="float32 on 6 symbols: it is certified to 5"):
        network.read(["111111"])
    long = compile_program(parity(1030), 1030, "parity")
    assert long.read(["1" * 1024])[0][0] == "0"
    with pytest.raises(UncertifiedDtypeError, match="certified to 1024"):
        long.read(["1" * 1025])


def test_autocast_and_a_lower_matmul_precision_change_nothing(addition):
    plain = outputs(addition)
    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    precisions = [backend.fp32_precision for backend in backends]
    torch.set_float32_matmul_precision("medium")
    medium = [backend.fp32_precision for backend in backends]
    torch.set_num_threads(2)
    seen = []
    hook = addition.unembed.register_forward_hook(
        lambda *_: seen.append((torch.get_float32_matmul_precision(), torch.get_num_threads()))
    )
    try:
        with torch.autocast("cpu", torch.bfloat16):
            other = outputs(addition)
        assert torch.get_float32_matmul_precision() == "medium"
        assert [backend.fp32_precision for backend in backends] == medium
        assert torch.get_num_threads() == 2
    finally:
        torch.set_float32_matmul_precision(before)
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        torch.set_num_threads(threads)
        hook.remove()
    assert seen == [("highest", 1)]
    assert other.logits.dtype == torch.float32
    assert all(a.equal(b) for a, b in zip(plain.hidden_states, other.hidden_states, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_rows_of_padding_stay_finite_and_change_nothing(dtype, addition):
    network = addition.to(getattr(torch, dtype))
    network.allow_uncertified = True
    together = network(network.encode(SUMS), output_attentions=True, output_hidden_states=True)
    assert all(state.isfinite().all() for state in together.hidden_states)
    assert all(m.isfinite().all() for m in together.attentions if m is not None)
    for i, symbols in enumerate(SUMS):
        alone = network(network.encode([symbols])).logits
        assert together.logits[i, : 1 + len(symbols)].equal(alone[0])
        for state in together.hidden_states:  # what is behind an input is what BOS is
            assert state[i, 1 + len(symbols) :].eq(state[i, :1]).all()
    ids = network.encode(SUMS)
    masked = ids.masked_fill(ids == network.config.pad, 3)
    logits = network(masked, attention_mask=(ids != network.config.pad).long()).logits
    for i, symbols in enumerate(SUMS):
        assert logits[i, : 1 + len(symbols)].equal(together.logits[i, : 1 + len(symbols)])
    nothing = torch.zeros_like(ids)
    assert network(ids, attention_mask=nothing).logits.isfinite().all()
    assert network(ids, nothing, output_attentions=True).logits.isfinite().all()


def test_attention_is_that_of_the_kernel_and_losers_weigh_nothing(addition):
    ids = addition.encode(SUMS)
    eager, fast = outputs(addition), addition(ids)
    assert eager.logits.equal(fast.logits)
    for each in eager.attentions:
        weights = each[:, :, :, : ids.shape[1]]
        assert (weights.gt(0) == weights.ge(0.05)).all()
        assert weights.sum(-1).sub(1).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "symbols", "message"),
    [
        ("parity", "1021", r"'2' at position 2 .*reads 0 1"),
        ("parity", "", "it is empty"),
        ("parity", ["bos", "1"], "'bos' at position 0"),
        ("parity", ["1", "pad"], "'pad' at position 1"),
        ("parity", "1" * 17, "17 symbols; it reads 16"),
        ("addition", "1+2+3=", r"has 2 '\+'"),
        ("addition", "12=", r"has 0 '\+'"),
        ("addition", "1+2", "has 0 '='; it must have one, at its end"),
        ("addition", "1+2=3=", "has 2 '='"),
        ("addition", "1=+2", "at its end"),
        ("addition", "+2=", r"has 1 '\+'; it must have one, with something before"),
        ("addition", "2+=", "with something before"),
        ("addition", "2-1=", "'-' at position 1"),
        ("reverse", "=", "it is empty"),
        ("reverse", "Abc=", "'A' at position 0"),
    ],
)
def test_what_is_no_input_of_a_program_is_refused_before_it_runs(name, symbols, message):
    network = TASKS[name].network(16)
    with pytest.raises(ProgramInputError, match=rf"{name}, input 1: .*{message}"):
        network.read([{"parity": "1", "reverse": "a="}.get(name, "1+1="), symbols])


def test_ids_that_are_not_bos_symbols_then_padding_are_refused(addition):
    ids = addition.encode(["12+34=", "1+1="])
    for place, new, message in (
        ((0, 0), 3, "row 0: 3 at place 0"),
        ((1, 2), addition.config.bos, "row 1: .*at place 2"),
        ((1, 2), addition.config.pad, "row 1: .*at place 3"),
        ((0, 3), 99, "row 0: 99 at place 3"),
        ((0, 3), -1, "row 0: -1 at place 3"),
    ):
        wrong = ids.clone()
        wrong[place] = new
        with pytest.raises(ProgramInputError, match=message):
            addition(wrong)
    with pytest.raises(ProgramInputError, match="16 symbols at most"):
        addition(torch.zeros(1, 18, dtype=torch.long))
    with pytest.raises(ProgramInputError, match="shape"):
        addition(ids[0])
    with pytest.raises(ProgramInputError, match="not one string"):
        addition.read("1+1=")
    assert addition.read([]) == []
