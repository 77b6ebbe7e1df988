"""An encoder that is trained along: its states text by text, its gradients, its training."""

import logging
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from tests.retrievers.small import naive
from workbench.retrieval.graphs import ROOT
from workbench.retrievers import train
from workbench.retrievers.lexicon import vocabulary
from workbench.retrievers.model import Retriever
from workbench.retrievers.targets import targets
from workbench.retrievers.train import RELEASED, Fit, coupled, trained
from workbench.retrievers.tuned import TunedEncoder, warn_of_cuts
from workbench.worlds.pools import questions

POOLS = [
    replace(q, question=" ".join(WORDS[i:]), edges=((ROOT, 0), (0, 1)), id=f"q{i}",
            facts=tuple(" ".join(WORDS[(i + k) % 9 :][: 3 + k]) + "." for k in range(5 - i)))
    for i, q in enumerate(questions("train", 4, pool=10))
]  # fmt: skip
TUNED = Fit(d=32, heads=4, epochs=2, batch=2, lr=1e-3, **RELEASED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def encoder(folder):
    return wb.load_encoder(folder, device="cpu")


@torch.no_grad()
def test_states_are_those_of_each_text_alone(folder, encoder):
    tuned = TunedEncoder(encoder, 6)
    pool = tuned.pool(POOLS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    hf = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def alone(text):
        ids = tokenizer([text], truncation=True, max_length=6, padding=False, return_tensors="pt")
        return hf(**ids).last_hidden_state[0]

    assert pool.facts.shape[:2] == (4, 5)
    for row, question in enumerate(POOLS):
        expected = alone(question.question)
        there = tuned.questions(pool)[row][pool.questions_there[row]]
        torch.testing.assert_close(there, expected, atol=1e-5, rtol=1e-5)
        for k in range(5):
            there = tuned.facts(pool, torch.tensor(0))[row, k][pool.facts_there[row, k]]
            expected = alone(question.facts[k]) if k < len(question.facts) else there[:0]
            torch.testing.assert_close(there, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", ["cls", "tokens"])
@torch.no_grad()
def test_scores_are_those_of_the_formulas_by_either_head(encoder, head):
    torch.manual_seed(0)
    retriever = Retriever(TunedEncoder(encoder, 30), "forward", 32, 4, head=head).eval()
    states = retriever.start(retriever.encoder.pool(POOLS))
    paths = [(0, 1), (0, 4), (2, 2)]
    parents, facts = torch.tensor(paths).T
    after = retriever.step(states, parents, facts)
    for scores, place in ((states, [(i, ()) for i in range(4)]),
                          (after, [(row, (v,)) for row, v in paths])):  # fmt: skip
        for of_state, (row, path) in zip(retriever.scores(scores), place, strict=True):
            expected = torch.tensor(naive(retriever, POOLS[row], path))
            torch.testing.assert_close(of_state[: len(expected)], expected, atol=1e-4, rtol=1e-4)
            assert (of_state[len(expected) :] == -torch.inf).all()


@pytest.mark.parametrize("head", ["cls", "tokens"])
def test_every_layer_of_the_encoder_learns_and_the_one_given_stays(encoder, head):
    before = encoder.identity()
    retriever = trained(POOLS, replace(TUNED, head=head), "forward", 1, encoder)
    assert encoder.identity() == before
    assert not retriever.training
    assert not retriever.encoder.hf.training
    of_base = dict(encoder.hf.named_parameters())
    changed = {name for name, weight in retriever.encoder.hf.named_parameters()
               if not torch.equal(weight, of_base[name])}  # fmt: skip
    assert {name.split(".")[0] for name in changed} == {"embeddings", "encoder"}
    assert {name for name in changed if "layer.0" in name}
    assert all(weight.isfinite().all() for weight in retriever.parameters())


def test_the_encoder_drops_out_in_training_alone(encoder, monkeypatch):
    modes = []
    plain = TunedEncoder.pool
    monkeypatch.setattr(
        TunedEncoder, "pool", lambda self, qs: modes.append(self.hf.training) or plain(self, qs)
    )
    retriever = trained(POOLS, replace(TUNED, epochs=1), "forward", 1, encoder)
    retriever.encoder.pool(POOLS)
    assert modes == [True, True, False]


def test_released_rates_warm_up_for_an_epoch_and_fall_as_a_cosine():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    schedule = train._schedule(optimizer, replace(TUNED, epochs=5), 4)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    falling = [(1 + torch.cos(torch.tensor(torch.pi * i / 16)).item()) / 2 for i in range(16)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75, *falling], abs=1e-6)
    assert schedule.get_last_lr()[0] == pytest.approx(0, abs=1e-6)


def test_gradients_are_clipped_unless_as_released(encoder, monkeypatch):
    norms = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda _, most: norms.append(most))
    trained(POOLS, replace(TUNED, epochs=1), "forward", 1, encoder)
    assert norms == []
    trained(POOLS, replace(TUNED, epochs=1, clip=0.5), "forward", 1, encoder)
    assert norms == [0.5, 0.5]


def test_coupled_directions_share_an_encoder_and_nothing_else(encoder):
    forward, backward = coupled(POOLS, TUNED, ("forward", "backward"), 1, encoder)
    assert forward.encoder is backward.encoder
    assert (forward.direction, backward.direction) == ("forward", "backward")
    assert not torch.equal(forward.out.weight, backward.out.weight)
    apart = trained(POOLS, TUNED, "forward", 1, encoder)
    first, alone = (next(r.encoder.hf.encoder.parameters()) for r in (forward, apart))
    assert not torch.equal(first, alone)


def test_the_gradient_of_coupled_directions_is_the_sum_of_both(monkeypatch):
    fit, both = Fit(d=16, heads=2, epochs=1), ("forward", "backward")
    grads = []
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda weights, _: grads.append(weights[0].grad.clone())
    )
    coupled(POOLS, fit, both, 1)
    torch.manual_seed(1)
    pair = train.built(fit, both, vocabulary(POOLS))
    parts = []
    for retriever in pair:
        gold = [targets(q.edges, retriever.direction) for q in POOLS]
        value = train.loss(retriever, retriever.encoder.pool(POOLS), gold, 2.0)
        (part,) = torch.autograd.grad(value, [next(retriever.encoder.parameters())])
        parts.append(part)
    torch.testing.assert_close(grads[0], sum(parts), atol=1e-6, rtol=1e-4)


def test_what_is_cut_is_said_with_its_share(encoder, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_cuts(encoder, POOLS, 40)
        assert not caplog.records
        warn_of_cuts(encoder, POOLS, 8)
    texts = {text for q in POOLS for text in (q.question, *q.facts)}
    long = sum(len(text.replace(".", " .").split()) + 2 > 8 for text in texts)
    assert 0 < long < len(texts)
    assert f"{100 * long / len(texts):.1f} % of {len(texts)} texts are cut to 8" in caplog.text


@pytest.mark.parametrize(("given", "named"), [
    ({"d": 48}, "d=48: .* has 32"), ({"head": "all"}, "head="), ({"reads": "all"}, "reads="),
    ({"schedule": "none"}, "schedule="),
])  # fmt: skip
def test_settings_are_refused_by_name(encoder, given, named):
    with pytest.raises(ValueError, match=named):
        trained(POOLS, replace(TUNED, **given), "forward", 0, encoder)
    with pytest.raises(ValueError, match="reads='tuned': give a sentence encoder"):
        trained(POOLS, TUNED, "forward", 0)
