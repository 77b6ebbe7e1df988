"""What a certificate says is so; where a network is wrong it does not say it is right."""

import copy
import json
import random

import pytest
import torch

from workbench.errors import ModelError, UncertifiedDtypeError
from workbench.papers.neural_comprehension import certificate
from workbench.papers.neural_comprehension.certificate import certify, exact_limit, verify
from workbench.papers.neural_comprehension.gallery import GALLERY
from workbench.papers.neural_comprehension.network import compile_program
from workbench.papers.neural_comprehension.programs import parity
from workbench.papers.neural_comprehension.tasks import TASKS, task

PUBLISHED_WINDOWS = {
    "parity": 40, "reverse": 40, "last_letter": 16, "copy": 16, "addition": 40, "subtraction": 40
}  # fmt: skip
"""Of Table 3."""
ANCHORED = [name for name in TASKS if name != "parity"]


@pytest.fixture
def fresh():
    """A network of a task that no other test sees."""
    return lambda name, window=16: copy.deepcopy(TASKS[name].network(window))


@pytest.mark.parametrize("name", PUBLISHED_WINDOWS)
def test_no_network_has_more_parameters_than_the_published_one(name):
    window = PUBLISHED_WINDOWS[name]
    network = compile_program(TASKS[name].program(window), window)
    assert network.num_parameters() <= TASKS[name].published


@pytest.mark.parametrize("name", [*ANCHORED, *(set(GALLERY) & {"comparison"})])
def test_anchored_programs_are_exact_in_every_dtype_bit_by_bit(name):
    network = copy.deepcopy((TASKS | GALLERY)[name].network(48))
    proved = certify(network)["dtypes"]
    assert proved["float32"]["exhaustive_to"] == {"addition": 1, "subtraction": 1,
                                                  "comparison": 1}.get(name, 5)  # fmt: skip
    for dtype in certificate.DTYPES:
        assert proved[dtype]["max_len"] == 48
        assert proved[dtype]["min_margin"] == 1.0
        assert proved[dtype]["bit_exact"]
        assert proved[dtype]["fails_at"] is None
        assert proved[dtype]["cases"] > 300 - 200 * (proved["float32"]["exhaustive_to"] == 1)
    json.dumps(network.config.certificate)


def test_counts_fail_in_bfloat16_where_the_certificate_ends():
    network = compile_program(parity(128), 128, "parity")
    proved = certify(network)["dtypes"]
    assert proved["float32"]["max_len"] == proved["float16"]["max_len"] == 128
    assert proved["float32"]["min_margin"] > 0.999
    limit = proved["bfloat16"]["max_len"]
    assert 64 <= limit < 96  # which count is the first depends on the processor
    assert proved["bfloat16"]["min_margin"] >= certificate.MARGIN
    assert len(proved["bfloat16"]["fails_at"]) == limit + 1
    half = network.to(torch.bfloat16)
    with pytest.raises(UncertifiedDtypeError, match=f"certified to {limit}"):
        half.read(["1" * (limit + 1)])
    counts = range(1, 129)
    half.allow_uncertified = True
    right = [
        row[0] == str(n % 2)
        for n, row in zip(counts, half.read(["1" * n for n in counts]), strict=True)
    ]
    assert all(right[:limit])
    assert not all(right)


@pytest.mark.parametrize("name", TASKS)
def test_a_weight_that_is_off_is_found_out(name, fresh):
    network = fresh(name)
    network.layers[-1 if network.layers[-1].units else 0].up.weight[0] *= -1
    proved = certify(network, dtypes=["float32"])["dtypes"]["float32"]
    assert proved["max_len"] < 16
    with pytest.raises(UncertifiedDtypeError):
        network.read([TASKS[name].symbols(TASKS[name].draw(random.Random(0), 7))])


def test_a_carry_that_is_off_is_found_out(fresh):
    network = fresh("addition")
    carry = network.config.labels.index("carry=True")
    network.layers[2].o.weight[carry] *= 0
    proved = certify(network, dtypes=["float32"])["dtypes"]["float32"]
    assert proved["max_len"] == 3  # of 1+9 on; the shortest input has 4 symbols
    assert proved["cases"] == 0
    assert sum(map(int, proved["fails_at"].split("+"))) > 9


def off_in_float32(change):
    """A hook that changes the stream behind a layer, but not in float64."""

    def hook(_, inputs, output):
        middle, attention, x = output
        return (middle, attention, x if x.dtype == torch.float64 else change(x.clone()))

    return hook


def test_a_state_that_is_off_is_no_longer_bit_exact(fresh):
    network = fresh("copy")
    token = network.config.labels.index("token=a")

    def stray(x):
        x[..., token] += 1e-3
        return x

    network.layers[0].register_forward_hook(off_in_float32(stray))
    proved = certify(network, dtypes=["float32"])["dtypes"]["float32"]
    assert proved["max_len"] == 16
    assert not proved["bit_exact"]


def test_an_answer_that_should_stand_everywhere_must(fresh):
    network = fresh("parity")
    odd, even = (network.config.labels.index(f"parity={n}") for n in (1, 0))

    def later(x):
        x[:, 5:, [odd, even]] = x[:, 5:, [even, odd]]
        return x

    network.layers[-1].register_forward_hook(off_in_float32(later))
    assert certify(network, dtypes=["float32"])["dtypes"]["float32"]["max_len"] == 4


def test_certificates_are_made_again_and_compared(fresh):
    network = fresh("copy")
    with pytest.raises(ModelError, match="no certificate"):
        verify(network)
    made = certify(network, dtypes=["float32", "bfloat16"])
    again = verify(network)
    assert again == made == network.config.certificate
    network.config.certificate["dtypes"]["bfloat16"]["max_len"] = 17
    with pytest.raises(ModelError, match="bfloat16: max_len is 16 here and 17"):
        verify(network)
    network.layers[0].up.weight[3] *= 2
    with pytest.raises(ModelError, match="they were changed"):
        verify(network)


def test_limits_of_tasks_are_the_certificates():
    for dtype in certificate.DTYPES:
        assert exact_limit(task("parity"), dtype, 48) == 48
    assert TASKS["parity"].network(48).config.certificate["window"] == 48
    with pytest.raises(ValueError, match="int8"):
        exact_limit(task("parity"), "int8")


def test_what_cannot_be_certified_is_named(fresh):
    with pytest.raises(ValueError, match=r"level='quik'.*'quick'"):
        certify(fresh("copy"), "quik")
    with pytest.raises(ValueError, match="float8"):
        certify(fresh("copy"), dtypes=["float8"])
    with pytest.raises(ValueError, match="program='mine'"):
        certify(compile_program(parity(8), 8, "mine"))


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_thousand_inputs_of_every_length(name):
    """All six take seven minutes of one CPU."""
    network = compile_program(TASKS[name].program(96), 96, name)
    proved = certify(network, "full", ["float32"])["dtypes"]["float32"]
    assert proved["max_len"] == 96
    assert proved["fails_at"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["addition", "subtraction"])
def test_a_million_pairs_of_operands(name):
    each = TASKS[name]
    inputs = list(each.small(3))
    assert len(inputs) == 10**6
    for start in range(0, len(inputs), 10_000):
        batch = inputs[start : start + 10_000]
        assert each.run(batch) == [each.answer(given) for given in batch]


def test_a_window_that_holds_no_input_is_refused():
    for window, message in ((3, "holds no input of addition"), ("9", "whole number")):
        with pytest.raises(ValueError, match=message):
            certify(task("addition"), window=window)


@pytest.mark.parametrize("what", [None, "parity", 5, TASKS], ids=["none", "name", "number", "dict"])
def test_what_is_no_network_is_named(what):
    for attempt in (certify, verify):
        with pytest.raises(ValueError, match="must be a compiled network, or a task"):
            attempt(what)


def test_a_certificate_that_says_nothing_is_none_of_its_network(fresh):
    network = fresh("copy")
    network.config.certificate = {"dtypes": {"float32": {"max_len": 5}}}
    with pytest.raises(ModelError, match="not those of the certificate"):
        verify(network)
