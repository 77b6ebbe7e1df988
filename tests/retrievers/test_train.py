"""Training: its loss by hand, the same retriever everywhere, and that it learns."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.retrievers.small import lexical, naive
from workbench.errors import GraphError, RunError
from workbench.retrievers.search import retrieved
from workbench.retrievers.targets import DIRECTIONS, targets
from workbench.retrievers.train import Fit, loss, trained
from workbench.worlds.pools import questions

FEW = questions("train", 24, worlds=2, pool=10)
QUICK = Fit(d=16, heads=2, epochs=1, dropout=0.1)


@pytest.mark.parametrize("direction", DIRECTIONS)
@torch.no_grad()
def test_the_loss_is_the_mean_over_all_facts_of_all_states(direction):
    retriever = lexical(direction)
    pools = [replace(q, facts=(*q.facts, "One more.")) if i % 2 else q for i, q in enumerate(FEW)]
    gold = [targets(q.edges, direction) for q in pools[:8]]
    parts = []
    for question, levels in zip(pools, gold, strict=False):
        for path, after in (item for level in levels for item in level.items()):
            for v, z in enumerate(torch.tensor(naive(retriever, question, path))):
                odds = torch.sigmoid(z)
                parts.append(-2 * odds.log() if v in after else -(1 - odds).log())
    expected = torch.stack(parts).mean()
    torch.testing.assert_close(
        loss(retriever, retriever.encoder.pool(pools[:8]), gold, 2.0), expected, rtol=1e-4, atol=0
    )


def fitted() -> str:
    """Weights and edges of a quick training."""
    torch.set_num_threads(1)
    retriever = trained(FEW, QUICK, "forward", 3)
    weights = sum(p.double().abs().sum() for p in retriever.parameters()).item()
    return json.dumps([weights, retrieved(retriever, FEW)])


def test_the_same_in_every_process_and_whatever_was_drawn_before():
    torch.manual_seed(9)
    before = torch.get_rng_state()
    here = fitted()
    assert torch.equal(torch.get_rng_state(), before)
    code = "from tests.retrievers.test_train import fitted; print(fitted())"
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.stdout.strip() == here, done.stderr
    other = trained(FEW, QUICK, "forward", 4)
    assert json.dumps(retrieved(other, FEW)) not in here


def test_first_hops_are_learnt_and_the_labels_of_the_release_unlearn_them():
    single = [q for q in questions("train", 120, worlds=2, pool=10) if q.structure == "SCSH"]
    settings = Fit(d=32, epochs=12, batch=4, lr=5e-3)
    share = {}
    for official in (False, True):
        retriever = trained(single, replace(settings, official=official), "forward", 0)
        edges = retrieved(retriever, single, above=0.5)
        firsts = [{(u, v) for u, v, _ in of_question} for of_question in edges]
        right = [{*q.edges} <= first for q, first in zip(single, firsts, strict=True)]
        share[official] = sum(right) / len(right)
    assert share[False] > 0.6
    assert share[True] == 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"direction": "sideways"}, "direction="),
        ({"seed": -1}, "seed="),
        ({"questions": []}, "no questions"),
    ],
)
def test_arguments_are_refused_by_name(given, named):
    with pytest.raises(ValueError, match=named):
        trained(**{"questions": FEW, "settings": QUICK, "direction": "forward", "seed": 0} | given)


def test_any_number_of_steps_can_be_taken():
    few = questions("train", 11, pool=10)
    for steps in (1, 2, 10, 11):
        fit = Fit(d=8, heads=2, epochs=1, batch=1)
        assert trained(few[:steps], fit, "one_hop", 0).direction == "one_hop"


@pytest.mark.parametrize("wrong", [
    {"d": 15}, {"d": 0}, {"heads": 0}, {"epochs": 0}, {"batch": 0}, {"max_tokens": 0},
    {"lr": float("nan")}, {"lr": -1.0}, {"clip": float("nan")}, {"positive_weight": -1.0},
    {"weight_decay": -1.0}, {"names": "no"}, {"official": 1},
    {"reads": "books"}, {"head": "tail"}, {"schedule": "flat"},
], ids=str)  # fmt: skip
def test_what_no_network_can_be_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
        replace(QUICK, **wrong)


@pytest.mark.parametrize("edges", [(), ((-1, 99),), ((-1, 0), (0, 1), (1, 0))], ids=str)
def test_edges_that_are_no_graph_are_refused_with_their_question(edges):
    with pytest.raises(GraphError, match=r"^train-0: "):
        trained([replace(FEW[0], edges=edges)], QUICK, "forward", 0)


def test_weights_that_are_no_numbers_are_never_searched_with(tmp_path):
    with pytest.raises(RunError, match="give lr below 1e"):
        trained(FEW, replace(QUICK, lr=1e30, clip=0.0), "forward", 0, None, tmp_path / "state")
    assert not (tmp_path / "state").exists()
