"""Networks and trainings on disk: the same edges again, and whatever does not fit is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from tests.helpers.encoder_toys import save_bert
from workbench.errors import CacheMismatch, ModelError
from workbench.papers.graphhop import study
from workbench.retrievers import checkpoint, train
from workbench.retrievers.targets import targets
from workbench.retrievers.train import RELEASED, Fit, coupled, trained
from workbench.training.resume import seal
from workbench.worlds.pools import questions

FEW = questions("train", 16, worlds=2, pool=10)
QUICK = Fit(d=16, heads=2, epochs=3, batch=4, dropout=0.1)
TUNED = Fit(d=32, heads=4, epochs=2, batch=8, **RELEASED)
SAVED = {"seed": 3, "data": "abc", "thresholds": {"τ": 0.4}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert")), device="cpu")


def same(one, other):
    rows = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in rows)


@pytest.mark.parametrize("given", [
    {}, {"head": "tokens"}, {"names": True, "matches": False}, {"reads": "frozen"},
], ids=["words", "tokens", "names", "frozen"])  # fmt: skip
def test_a_network_comes_back_as_it_was(tmp_path, encoder, given):
    fit = replace(QUICK, epochs=1, **given)
    retriever = trained(FEW, fit, "backward", 0, encoder)
    checkpoint.save(retriever, tmp_path / "net", fit, **SAVED)
    again, config = checkpoint.load(tmp_path / "net", encoder, direction="backward")
    assert same(again, retriever)
    assert not again.training
    levels = [targets(q.edges, "backward") for q in FEW]
    # Not what is retrieved: of facts as probable as each other, that hangs on a last bit.
    before, after = (
        train.loss(network, network.encoder.pool(FEW), levels, 2.0)
        for network in (retriever, again)
    )
    torch.testing.assert_close(after, before)
    assert {name: config[name] for name in SAVED} == SAVED
    assert {path.name for path in (tmp_path / "net").iterdir()} == {
        "model.safetensors", "config.json", "sealed.json"
    }  # fmt: skip


def test_what_does_not_fit_is_refused_before_weights_are_read(tmp_path, encoder, monkeypatch):
    of_words = trained(FEW, replace(QUICK, epochs=1), "forward", 0)
    checkpoint.save(of_words, tmp_path / "words", replace(QUICK, epochs=1), **SAVED)
    tuned = trained(FEW, replace(TUNED, epochs=1), "forward", 0, encoder)
    checkpoint.save(tuned, tmp_path / "tuned", TUNED, **SAVED)
    assert same(checkpoint.load(tmp_path / "tuned", encoder)[0], tuned)
    monkeypatch.setattr(checkpoint, "load_file", None)
    with pytest.raises(CacheMismatch, match="direction 'forward' is not 'backward'"):
        checkpoint.load(tmp_path / "words", direction="backward")
    with pytest.raises(ModelError, match="give a sentence encoder"):
        checkpoint.load(tmp_path / "tuned")
    other = wb.load_encoder(save_bert(tmp_path / "other", seed=1), device="cpu")
    with pytest.raises(CacheMismatch, match=r"encoder '.*' is not '.*other'"):
        checkpoint.load(tmp_path / "tuned", other)
    with pytest.raises(CacheMismatch, match="weights of the encoder"):
        checkpoint.load(tmp_path / "tuned", replace(other, name=encoder.name))
    edited(tmp_path / "tuned", fit=lambda fit: fit | {"d": 48})
    with pytest.raises(CacheMismatch, match="hidden size 48 is not 32"):
        checkpoint.load(tmp_path / "tuned", encoder)
    edited(tmp_path / "words", words=lambda words: words[:-1])
    with pytest.raises(CacheMismatch, match=r"vocabulary '[0-9a-f]{16}' is not '[0-9a-f]{16}'"):
        checkpoint.load(tmp_path / "words")
    checkpoint.save(of_words, tmp_path / "words", replace(QUICK, d=32), **SAVED)
    with pytest.raises(CacheMismatch, match=r"encoder.asked \[16\] is not \[32\]"):
        checkpoint.load(tmp_path / "words")


def test_a_network_above_a_frozen_encoder_is_of_that_one(tmp_path, encoder):
    fit = replace(QUICK, epochs=1, reads="frozen")
    (network,) = train.built(fit, ["forward"], [], encoder)
    checkpoint.save(network, tmp_path / "net", fit, **SAVED)
    other = wb.load_encoder(save_bert(tmp_path / "other", seed=1), device="cpu")
    with pytest.raises(CacheMismatch, match="weights of the encoder"):
        checkpoint.load(tmp_path / "net", replace(other, name=encoder.name))


@pytest.mark.parametrize("more", [True, False], ids=["one more", "one less"])
def test_weights_of_another_network_are_refused_by_name(tmp_path, more):
    (network,) = train.built(QUICK, ["forward"], ["a"])
    checkpoint.save(network, tmp_path / "net", QUICK, **SAVED)
    path = tmp_path / "net" / checkpoint.WEIGHTS
    weights = load_file(path)
    weights |= {"extra.weight": torch.zeros(3)}
    if not more:
        del weights["extra.weight"], weights["out.weight"]
    save_file(weights, path)
    seal(tmp_path / "net", checkpoint.FORMAT)
    said = r"extra.weight \[3\] is not None" if more else r"out.weight None is not \["
    with pytest.raises(CacheMismatch, match=said):
        checkpoint.load(tmp_path / "net")


def edited(folder, **changes):
    """Change a config, and seal it as if it had been so."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name, change in changes.items():
        config[name] = change(config[name])
    path.write_text(json.dumps(config))
    seal(folder, checkpoint.FORMAT)


def test_what_is_no_network_is_refused(tmp_path):
    retriever = trained(FEW, replace(QUICK, epochs=1), "forward", 0)
    with pytest.raises(ModelError, match="no network"):
        checkpoint.load(tmp_path / "nowhere")
    checkpoint.save(retriever, tmp_path / "net", QUICK, **SAVED)
    edited(tmp_path / "net", fit=lambda fit: fit | {"width": 3})
    with pytest.raises(ModelError, match=r"config\.json: .*width"):
        checkpoint.load(tmp_path / "net")
    (tmp_path / "net" / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        checkpoint.load(tmp_path / "net")


class KilledError(Exception):
    pass


def killed(monkeypatch, steps):
    """Make the next training end in the middle, after so many losses."""
    plain, left = train.loss, [steps]

    def loss(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        return plain(*args)

    monkeypatch.setattr(train, "loss", loss)
    return lambda: monkeypatch.setattr(train, "loss", plain)


@pytest.mark.parametrize("fit", [QUICK, replace(TUNED, batch=4, epochs=3)], ids=["words", "tuned"])
@pytest.mark.parametrize("directions", [("forward",), ("forward", "backward")])
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path, encoder, monkeypatch, fit, directions
):
    expected = coupled(FEW, fit, directions, 5, encoder)
    restore = killed(monkeypatch, len(directions) * 4 * 2 + 1)  # in the third epoch
    with pytest.raises(KilledError):
        coupled(FEW, fit, directions, 5, encoder, tmp_path / "state")
    restore()
    calls, plain = [], train.loss
    monkeypatch.setattr(train, "loss", lambda *args: calls.append(1) or plain(*args))
    again = coupled(FEW, fit, directions, 5, encoder, tmp_path / "state")
    assert len(calls) == len(directions) * 4
    assert all(same(*pair) for pair in zip(again, expected, strict=True))


def test_a_damaged_state_begins_anew(tmp_path, caplog):
    expected = trained(FEW, QUICK, "forward", 0, None, tmp_path / "state")
    next((tmp_path / "state").glob("*/state.pt")).write_bytes(b"none")
    assert same(trained(FEW, QUICK, "forward", 0, None, tmp_path / "state"), expected)
    assert "state.pt is damaged; it is not gone on from" in caplog.text


def test_a_study_takes_what_is_there(tmp_path, monkeypatch):
    splits = {"train": FEW, "dev": FEW[:6], "test": FEW[6:12]}
    fit, names = replace(QUICK, epochs=1), ("forward",)
    first = study.searched(splits, fit, names, 0, folder=tmp_path, data="d")
    (place,) = tmp_path.iterdir()
    assert place.name == "forward-0-d"
    assert set(checkpoint.load(place)[1]["thresholds"]) == {"τ"}
    monkeypatch.setattr(study, "coupled", None)
    assert study.searched(splits, fit, names, 0, folder=tmp_path, data="d") == first
    with pytest.raises(TypeError):
        study.searched(splits, fit, names, 0, folder=tmp_path, data="e")


def test_the_same_encoder_may_lie_elsewhere(tmp_path, encoder):
    tuned = trained(FEW, TUNED, "forward", 0, encoder)
    checkpoint.save(tuned, tmp_path / "tuned", TUNED, **SAVED)
    assert same(checkpoint.load(tmp_path / "tuned", replace(encoder, name="moved"))[0], tuned)
