"""A compiled network read and cast, and what it will not read."""

import copy
import re
import runpy
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from workbench.errors import ProgramInputError, UncertifiedDtypeError
from workbench.papers.neural_comprehension.certificate import certify
from workbench.papers.neural_comprehension.configuration import CoNNConfig
from workbench.papers.neural_comprehension.network import CoNNModel, compile_program
from workbench.papers.neural_comprehension.programs import parity
from workbench.papers.neural_comprehension.reference import evaluate
from workbench.papers.neural_comprehension.tasks import TASKS, task

SUMS = ["12+34=", "999+1=", "0+0=", "58+7=", "1+99999="]


@pytest.fixture
def addition():
    return copy.deepcopy(task("addition").network(16))


def outputs(network):
    return network(network.encode(SUMS), output_hidden_states=True, output_attentions=True)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_importing_the_package_registers_nothing_and_a_module_read_twice_is_well():
    code = "import sys, workbench; assert not {'transformers', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    try:
        runpy.run_module("workbench.papers.neural_comprehension.network")
    finally:
        AutoModel.register(CoNNConfig, CoNNModel, exist_ok=True)
    assert "wb_conn" in CONFIG_MAPPING


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
    for filler in (3, network.config.vocabulary.index("+")):
        masked = ids.masked_fill(ids == network.config.pad, filler)
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


@pytest.mark.parametrize("given", [None, 5, b"1+1=", {"1": 1}, {"1"}], ids=repr)
def test_what_is_neither_text_nor_symbols_is_refused(given, addition):
    with pytest.raises(ProgramInputError, match=r"input 1: .*neither a text nor a list"):
        addition.read(["1+1=", given])
    with pytest.raises(ProgramInputError, match="neither a text nor a list"):
        evaluate(task("addition").program(16), given)
    for wrong in (None, 1):
        with pytest.raises(
            ProgramInputError, match=rf"input 0: {wrong} at position 1 is no symbol"
        ):
            addition.read([["1", wrong, "1", "="]])


def test_inputs_may_come_one_by_one(addition):
    assert addition.read(iter(SUMS)) == addition.read(SUMS)


def test_ids_and_masks_of_another_kind_are_refused(addition):
    ids = addition.encode(SUMS)
    for wrong in (ids.float(), ids.bool(), ids.tolist(), None):
        with pytest.raises(ProgramInputError, match="must be a tensor of int64"):
            addition(wrong)
    assert addition(ids.int()).logits.equal(addition(ids).logits)
    for mask in (torch.ones(len(ids)), torch.ones_like(ids)[:, 1:], torch.ones_like(ids)[:1], [1]):
        with pytest.raises(ProgramInputError, match=r"attention_mask .* shape, \[5, 9\]"):
            addition(ids, mask)


@pytest.mark.parametrize(("name", "symbols"), [
    ("addition", "1+2+3="), ("addition", "12="), ("addition", "1+2"), ("addition", "1=+2"),
    ("addition", "+2="), ("addition", "2+="), ("addition", "1+2=="), ("addition", ""),
    ("parity", ""), ("addition", "1+2=3"), ("reverse", "="), ("reverse", "ab"), ("reverse", "a=b="),
])  # fmt: skip
def test_ids_whose_marks_are_lacking_twice_or_out_of_place_are_refused_as_their_text_is(
    name, symbols
):
    network = TASKS[name].network(16)
    right = network.encode([{"addition": "12+34=", "reverse": "abcdef=", "parity": "101101"}[name]])
    wrong = torch.full_like(right, network.config.pad)
    wrong[0, 0] = network.config.bos
    for i, symbol in enumerate(symbols):
        wrong[0, 1 + i] = network.config.vocabulary.index(symbol)
    with pytest.raises(ProgramInputError) as of_text:
        network.read([symbols])
    fault = str(of_text.value).partition("input 0: ")[2]
    for ids, mask in ((wrong, None), (wrong.masked_fill(wrong == network.config.pad, 3),
                                      (wrong != network.config.pad).long())):  # fmt: skip
        with pytest.raises(ProgramInputError, match=rf"ids, row 1: {re.escape(fault)}$"):
            network(torch.cat([right, ids]), None if mask is None else
                    torch.cat([torch.ones_like(right), mask]))  # fmt: skip


def test_ids_whose_end_is_hidden_are_refused(addition):
    ids = addition.encode(["1+1=", "12+1="])
    mask = torch.ones_like(ids)
    mask[0, -2:] = mask[1, -1] = 0
    with pytest.raises(ProgramInputError, match="ids, row 0: it has 0 '='"):
        addition(ids, mask)
