"""Thresholds and views of networks beside slow ones; a kept network is not trained again."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.papers.reasonchainqa import networks, paper, presets, study
from workbench.papers.reasonchainqa.answering import line
from workbench.reading import read_object
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.steps import follow
from workbench.retrievers.train import Fit

SCORES = st.sampled_from([0.04, 0.1, 0.25, 0.4, 0.5, 0.7, 0.85])
EDGES = st.dictionaries(
    st.tuples(st.integers(-1, 4), st.integers(0, 5)).filter(lambda edge: edge[0] < edge[1]),
    SCORES, max_size=9,
).map(lambda scored: sorted((u, v, p) for (u, v), p in scored.items()))  # fmt: skip


@given(EDGES, SCORES)
@settings(max_examples=60, deadline=None)
def test_facts_above_a_threshold_are_those_the_question_leads_to(edges, tau):
    star = [(-1, v, p) for v, p in {v: p for _, v, p in edges}.items()]
    best = {v: p for _, v, p in star if p > tau}
    by_one = networks.above(star, tau, "one_hop")
    assert {*by_one} == {*best}
    assert [*by_one] == sorted(best, key=lambda v: (-best[v], v))
    assert networks.by_score(star) == networks.above(star, 0, "one_hop")
    reached = {-1}
    for _ in range(6):
        reached |= {v for u, v, p in edges if u in reached and p > tau}
    chain = networks.above(edges, tau, "forward")
    assert {*chain} == reached - {-1}
    place = {-1: -1} | {fact: i for i, fact in enumerate(chain)}
    assert all(place[u] < place[v] for u, v, p in edges if u in reached and p > tau)


def test_a_branch_is_read_to_its_end_and_of_equals_the_first_comes_first():
    edges = [(-1, 2, 0.9), (-1, 4, 0.6), (2, 0, 0.5), (4, 1, 0.3)]
    assert networks.above(edges, 0.2, "forward") == (2, 0, 4, 1)
    assert networks.above(edges, 0.3, "greedy") == (2, 0, 4)
    assert networks.above(edges, 0.3, "one_hop") == (2, 4, 0)
    assert networks.above(edges, 0.95, "forward") == ()
    both = [(-1, 1, 0.9), (-1, 2, 0.9), (1, 2, 0.5), (2, 1, 0.5)]  # read from different paths
    assert networks.above(both, 0.2, "forward") == (1, 2)
    assert networks.by_score([(-1, 3, 0.5), (-1, 1, 0.5), (-1, 0, 0.7)]) == (0, 1, 3)


@given(st.lists(st.tuples(st.permutations(range(4)), EDGES), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_threshold_has_the_most_chains_right_and_of_equals_is_the_smallest(rows):
    dev = [Evidence(str(i), "Who?", tuple("abcdef"), tuple(sorted(line(tuple(order[:2])))),
                    chain=tuple(order[:2])) for i, (order, _) in enumerate(rows)]  # fmt: skip
    graphs = [of for _, of in rows]
    stars = [[(-1, v, p) for v, p in {v: p for _, v, p in of}.items()] for of in graphs]
    for method in ("forward", "greedy", "one_hop"):
        right, edges = {}, stars if method == "one_hop" else graphs
        for tau in networks.THRESHOLDS:
            chains = [networks.above(of, tau, method) for of in edges]
            right[tau] = sum(
                sorted(c) == sorted(q.chain) if method == "one_hop" else c == q.chain
                for q, c in zip(dev, chains, strict=True)
            )
        best = min(tau for tau in right if right[tau] == max(right.values()))
        assert networks.threshold(dev, edges, method) == best


def test_the_threshold_takes_facts_that_do_not_lead_to_each_other_in_any_order():
    gold = Evidence("0", "How many?", tuple("abcdef"), ((-1, 0), (-1, 1)), chain=(1, 0))
    edges = [(-1, 0, 0.7), (-1, 1, 0.7), (-1, 2, 0.25)]
    assert networks.threshold([gold], [edges], "forward") == 0.3


def test_a_network_is_of_its_settings():
    least = paper.settings("tiny", epochs=1)
    assert networks.fit_of(least) == Fit(
        d=48, heads=4, epochs=1, batch=16, lr=3e-3, reads="words", max_tokens=96
    )
    fit = networks.fit_of(replace(least, reads="frozen"))
    assert (fit.d, fit.reads) == (48, "frozen")


@pytest.fixture(scope="module")
def few():
    return presets.questions(paper.settings("tiny", train=4, dev=4, test=4, held_out=4))


@pytest.mark.parametrize("method", ["one_hop", "forward", "path"])
def test_a_kept_network_is_not_trained_again(tmp_path, few, monkeypatch, method):
    least = paper.settings("tiny", methods=method, d=16, batch=4, epochs=1)

    def run(questions=few, **changed):
        return study.run(questions, replace(least, **changed), lambda name, key, compute: compute(),
                         folder=tmp_path / "networks")  # fmt: skip

    ran = run()
    (place,) = (tmp_path / "networks").iterdir()  # of a training nothing else stays
    assert place.name.startswith(f"{method}-0-")
    assert ran.networks == {method: place}
    config = read_object(place / "config.json", ValueError)
    if method == "path":
        assert config["thresholds"] == {}
    else:
        assert ran.tuned == {method: [f"τ {config['thresholds']['τ']:g}"]}

    def refused(*given, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr(networks, "trained", refused)
    monkeypatch.setattr(networks, "trained_paths", refused)
    assert run() == ran
    shorter = run(few | {"held_out": few["held_out"][:2]})
    assert shorter.predicted == ran.predicted
    assert shorter.unseen[method] == [ran.unseen[method][0][:2]]
    assert run(few | {"test": few["test"][:2]}).predicted[method] == [ran.predicted[method][0][:2]]
    changes = [{"seed": 1}, {"learning_rate": 0.1}]
    changes += [{"chain_weight": 0.0}] if method == "path" else []
    for changed in changes:
        with pytest.raises(AssertionError, match="trained again"):
            run(**changed)
    with pytest.raises(AssertionError, match="trained again"):
        run(few | {"train": few["train"][:3]})


def test_a_path_is_what_its_steps_followed_by_hand_come_to(tmp_path, few):
    settings = paper.settings("tiny", methods="path", d=16, batch=4, epochs=1, beam=2)
    ran = study.run(few, settings, lambda name, key, compute: compute(), folder=tmp_path)
    step = networks.stepper(ran.networks["path"])
    for q, chain in zip(ran.test, ran.predicted["path"][0], strict=True):
        assert follow(step, q.question, q.facts, beam=2, most=8)[0].facts == chain
