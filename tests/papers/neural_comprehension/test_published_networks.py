"""The format of the authors' checkpoints: read as data, computed by its own rules, counted."""

import json
import math
import pickle
import random
import zipfile

import pytest
import torch

from tests.helpers.published_toys import config_of, empty, of_ours, parity_by_hand, ranks, write
from workbench.errors import ModelError, ProgramInputError, UnsafeFileError
from workbench.papers.neural_comprehension.network import compile_program
from workbench.papers.neural_comprehension.programs import add_carry, copy, last_letter, sub_carry
from workbench.papers.neural_comprehension.published_networks import (
    TRUTHS,
    exactness,
    load_published,
)

CARDS = {
    "Parity": ("1 1 0 0 1 0", "1 1 1 1 1 1"),
    "Reverse": ("r e v e r s e", "e s r e v e r"),
    "Last_Letter": ("w e n g s y x", "x x x x x x x"),
    "Copy": ("a b c d a b c", "a b c d a b c"),
    "Add_Carry": ("2 15 3 8 10", "3 5 3 9 0"),
    "Sub_Carry": ("2 -2 3 -9 4 0 8", "1 8 2 1 4 0 8"),
}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "CoNN_Copy", *of_ours(compile_program(copy(15), 15)))


@pytest.mark.parametrize("name", CARDS)
def test_truths_are_those_of_the_model_cards(name):
    given, answer = CARDS[name]
    assert TRUTHS[name](given.split()) == answer.split()


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_our_copy_in_their_format_is_read_and_exact(kind, tmp_path):
    ours = compile_program(copy(15), 15)
    network = load_published(write(tmp_path / "CoNN_Copy", *of_ours(ours), kind))
    given, answer = CARDS["Copy"]
    assert network.read([given, given[::-1]]) == [answer.split(), answer.split()[::-1]]
    assert network.symbols["bos"] == 2  # as published: the rank among letters
    assert network.symbols["pad"] == 17
    rows = exactness(network, "Copy", [1, 7, 15], count=20)
    exact = {"right": 20, "n": 20, "margin": 1.0, "leaked": 0.0}
    assert rows == [{"length": n} | exact for n in (1, 7, 15)]


def test_our_last_letter_in_their_format_attends_as_ours(tmp_path):
    ours = compile_program(last_letter(8), 8)
    network = load_published(write(tmp_path / "letter", *of_ours(ours)))
    assert network.read(["w e n g ="]) == [["g"] * 5]
    logits, maps = network(network.encode(["w e n g ="]))
    theirs = ours(ours.encode(["weng="]), output_attentions=True)
    assert len(maps) == 2
    for ours_map, their_map in zip(theirs.attentions, maps, strict=True):
        assert (ours_map[0, 0] - their_map[0]).abs().max() < 1e-5
    assert logits.shape == (1, 6, len(network.outputs))


@pytest.mark.parametrize("name", ["Add_Carry", "Sub_Carry"])
def test_our_rounds_of_carries_are_theirs_and_no_larger(name):
    ours = compile_program({"Add_Carry": add_carry, "Sub_Carry": sub_carry}[name](40), 40)
    assert ours.num_parameters() <= 117_000  # Table 3
    rng = random.Random(0)
    inputs = [rng.choices(ours.config.vocabulary, k=length) for length in range(1, 41)]
    assert ours.read(inputs) == [TRUTHS[name](given) for given in inputs]
    given, answer = CARDS[name]
    assert ours.read([given.split()]) == [answer.split()]


def test_biases_count_and_parity_by_hand_is_right_to_its_window(tmp_path):
    network = load_published(write(tmp_path / "CoNN_Parity", *parity_by_hand(6)))
    rows = exactness(network, "Parity", range(1, 7), count=30)
    assert [row["right"] for row in rows] == [30] * 6
    assert min(row["margin"] for row in rows) > 0.99
    given, answer = CARDS["Parity"]
    assert network.read([given]) == [answer.split()]


def test_attention_is_divided_by_the_root_of_the_hidden_size(tmp_path):
    config = config_of(ranks(["a", "b", "bos", "pad"]), {"a": 0}, (4, 1, 2, 1, 4))
    weights = empty(config)
    weights["embeddings.word_embeddings.weight"][0, 0] = 1
    weights["transformer.layers.0.self_attn.query_proj.bias"][0] = 2
    weights["transformer.layers.0.self_attn.key_proj.weight"][0, 0] = 1
    network = load_published(write(tmp_path / "leaks", config, weights))
    _, (attention,) = network(network.encode(["a b"]))
    assert attention[0].sub(torch.tensor([0.0, 1.0, 0.0]).softmax(0)).abs().max() < 1e-6


@pytest.mark.parametrize("strength", [6, 1])
def test_attention_that_leaks_is_counted(strength, tmp_path):
    """The second layer's queries, BOS's aside, prefer an 'a'."""
    config = config_of(ranks([*"ab", "bos", "pad"]), ranks("ab"), (4, 2, 2, 1, 7))
    weights, at = empty(config), "transformer.layers.1.self_attn"
    weights["embeddings.word_embeddings.weight"][[0, 2], [0, 1]] = 1
    weights[f"{at}.query_proj.bias"][0] = strength
    weights[f"{at}.query_proj.weight"][0, 1] = -strength
    weights[f"{at}.key_proj.weight"][0, 0] = 1
    network = load_published(write(tmp_path / "leaks", config, weights))
    (row,) = exactness(network, "Copy", [6], count=200)
    # An 'a' gets e³ times what another key gets, or √e times, which is less than twice as much.
    leaked = 6 / (6 + math.exp(3)) if strength == 6 else 0
    assert row["leaked"] == pytest.approx(leaked)
    assert (row["right"], row["margin"]) == (0, 0)


def test_what_leaks_is_reported_as_margin_and_as_wrong(tmp_path):
    config, weights = of_ours(compile_program(copy(15), 15))
    weights["transformer.layers.0.linear2.weight"][:, 0] *= 0.25  # 'a' is written faintly
    weights["transformer.layers.0.linear2.weight"][:, 1] *= -1
    rows = exactness(load_published(write(tmp_path / "faint", config, weights)), "Copy", [12])
    assert rows[0]["right"] < 100
    assert rows[0]["margin"] == -1.0
    weights["transformer.layers.0.linear2.weight"][:, 1] *= -1
    rows = exactness(load_published(write(tmp_path / "faint", config, weights)), "Copy", [12])
    assert rows[0]["right"] == 100
    assert rows[0]["margin"] == 0.25


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a b", "a 1"], "input 1: '1' at position 1 is no symbol"),
        (["a bos"], "'bos' at position 1"),
        (["pad"], "'pad' at position 0"),
        ([" "], "input 0: it is empty"),
        (["a " * 16], "16 symbols; it reads 15 at most"),
        (["a b", "a"], "input 1 has 1 symbols"),
        (["a b", None], "input 1: None is neither"),
        (["a b", ["a", 2]], "input 1: 2 at position 1 is no symbol"),
        ("a b", "not one string"),
        ([], "empty"),
    ],
    ids=["unknown", "bos", "pad", "empty", "long", "uneven", "nothing", "number", "text", "none"],
)
def test_nothing_is_dropped_or_cut(inputs, message, folder):
    with pytest.raises(ProgramInputError, match=message):
        load_published(folder).read(inputs)


def change(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "removed"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_hidden_size": "removed"}, "lacks mlp_hidden_size"),
        ({"input_encoding_map": "removed"}, "lacks input_encoding_map"),
        ({"hidden_size": 54}, r"do not fit[^$]*size mismatch"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"num_hidden_layers": 2}, r"Missing key[^$]*layers\.1"),
        ({"mlp_hidden_size": 10**9}, "mlp_hidden_size"),
        ({"num_hidden_layers": 8192}, "num_hidden_layers=8192"),
        ({"num_attention_heads": 2}, "one head"),
        ({"layer_norm": True}, "no layer norm"),
        ({"output_encoding_map": {"a": 0, "b": 2}}, "output_encoding_map must give"),
        ({"output_encoding_map": ["a"]}, "output_encoding_map must give"),
        ({"input_encoding_map": {str(i): i for i in range(28)}}, "no bos or pad"),
        ({"input_encoding_map": {str(i): str(i) for i in range(28)}}, "input_encoding_map must"),
    ],
    ids=[str(i) for i in range(13)],
)
def test_configs_that_lack_something_or_do_not_fit_are_refused(changes, message, folder):
    change(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load_published(folder)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    "content",
    [{"embeddings.word_embeddings.weight": Evil()}, {"a": 1}, [1, 2], {"a": {"b": torch.ones(1)}}],
    ids=["code", "number", "list", "nested"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_with_more_than_tensors_are_refused_and_not_run(content, zipped, folder, capsys):
    path = folder / "pytorch_model.bin"
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises((UnsafeFileError, ModelError), match=r"pytorch_model\.bin"):
        load_published(folder)
    assert "executed" not in capsys.readouterr().out


def test_damaged_large_and_missing_files_are_named(folder, tmp_path):
    path = folder / "pytorch_model.bin"
    whole = path.read_bytes()
    for content in (whole[:-200], b"", b"PK\x03\x04 and nothing more"):
        path.write_bytes(content)
        with pytest.raises((UnsafeFileError, ModelError), match=r"pytorch_model\.bin is damaged"):
            load_published(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (2**26 + 1))
    with pytest.raises(UnsafeFileError, match="the most"):
        load_published(folder)
    path.unlink()
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        load_published(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config.json"):
        load_published(folder)
    with pytest.raises(ModelError, match="nowhere"):
        load_published(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(value, tmp_path):
    config = config_of(ranks(["a", "bos", "pad"]), {"a": 0}, (2, 1, 1, 1, 3))
    weights = empty(config)
    weights["unembedding"][0, 0] = value
    with pytest.raises(ModelError, match="unembedding holds what is no finite number"):
        load_published(write(tmp_path / "bad", config, weights))
    weights["unembedding"] = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ModelError, match="unembedding"):
        load_published(write(tmp_path / "bad", config, weights))


def test_a_truth_whose_answers_it_does_not_know_is_named(folder):
    with pytest.raises(ValueError, match="Copy"):
        exactness(load_published(folder), "copy", [3])
    with pytest.raises(ValueError, match="no output '0'"):
        exactness(load_published(folder), "Parity", [3])
    with pytest.raises(ValueError, match="network=None"):
        exactness(None, "Copy", [3])
