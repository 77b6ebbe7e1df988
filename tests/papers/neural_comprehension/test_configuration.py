"""A compiled network saved and loaded: it comes back as it was, or not at all."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

import workbench as wb
from workbench.errors import ModelError, UncertifiedDtypeError
from workbench.papers.neural_comprehension.certificate import certify
from workbench.papers.neural_comprehension.network import CoNNModel
from workbench.papers.neural_comprehension.tasks import task

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
                                 "heads", "head_dims", "units", "digest"])  # fmt: skip
def test_a_config_that_lacks_a_key_is_named(key, saved):
    edit(saved, **{key: "removed"})
    for loader in (CoNNModel, AutoModel, AutoConfig):
        with pytest.raises(ModelError, match=f"lacks {key}"):
            loader.from_pretrained(saved)


@pytest.mark.parametrize(
    "change",
    [{"d_model": 60}, {"window": 15}, {"units": [45, 7, 22]}, {"heads": [3, 1, 1, "x"]},
     {"vocabulary": ["0"]}, {"certificate": "yes"}, {"certificate": {"dtypes": {"float32": {}}}},
     {"certificate": {}}, {"certificate": [1]}, {"certificate": {"weights": "", "level": "quick"}},
     {"certificate": {"dtypes": {"float32": {"max_len": "16"}}}}],
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
    for given, message in (({}, "certificate"), ({"certificate": None}, "digest")):
        edit(saved, **given)
        with pytest.raises(ModelError, match=f"not those of its {message}"):
            AutoModel.from_pretrained(saved)


CHANGED = {
    "outputs": lambda config: config["outputs"][1:] + config["outputs"][:1],
    "vocabulary": lambda config: ["1", "0", *config["vocabulary"][2:]],
    "between": lambda config: [],
    "end": lambda config: "",
    "program": lambda config: "subtraction",
    "labels": lambda config: config["labels"][::-1],
}


@pytest.mark.parametrize("key", CHANGED)
@pytest.mark.parametrize("certified", [True, False])
def test_a_config_that_makes_other_answers_of_the_same_weights_is_refused(certified, key, saved):
    edit(saved, **({} if certified else {"certificate": None}))
    CoNNModel.from_pretrained(saved)
    edit(saved, **{key: CHANGED[key](json.loads((saved / "config.json").read_text()))})
    with pytest.raises(ModelError, match=r"not those of its (certificate|digest)"):
        CoNNModel.from_pretrained(saved)


def test_what_was_saved_before_it_was_certified_is_known_too(addition, tmp_path):
    addition.save_pretrained(tmp_path)
    assert CoNNModel.from_pretrained(tmp_path).config.certificate is None
    addition.unembed.weight[0] *= -1
    addition.save_pretrained(tmp_path)  # another network, on purpose
    CoNNModel.from_pretrained(tmp_path)
    certify(addition, dtypes=["float32"])
    addition.unembed.weight[0] *= -1
    addition.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not those of its certificate"):
        CoNNModel.from_pretrained(tmp_path)


def test_heads_cut_otherwise_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    heads, widths = config["heads"], config["head_dims"]
    edit(saved, heads=[1, *heads[1:]], head_dims=[heads[0] * widths[0], *widths[1:]])
    with pytest.raises(ModelError, match="not those of its certificate"):
        CoNNModel.from_pretrained(saved)


@pytest.mark.parametrize("change", [{"outputs": [*range(11)]}, {"end": None}, {"digest": []}],
                         ids=repr)  # fmt: skip
def test_symbols_that_are_no_text_are_refused(change, saved):
    edit(saved, **change)
    with pytest.raises(ModelError, match="they were changed"):
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
    for nowhere in (saved / "nowhere", None, 5, ""):
        with pytest.raises(ModelError, match=r"cannot be reached|neither a folder here"):
            CoNNModel.from_pretrained(nowhere)


def test_a_dtype_is_asked_for_on_loading_and_checked_on_reading(saved):
    network = CoNNModel.from_pretrained(saved, dtype="bfloat16")
    assert network.dtype == torch.bfloat16
    assert network.read(SUMS) == task("addition").network(16).read(SUMS)
    edit(saved, certificate=None)
    with pytest.raises(UncertifiedDtypeError, match="bfloat16"):
        AutoModel.from_pretrained(saved, dtype=torch.bfloat16).read(SUMS)
