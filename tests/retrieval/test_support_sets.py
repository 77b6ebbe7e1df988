"""Support sets: pairs counted by hand, the loss and the search as they are written down."""

import itertools

import pytest
import torch

import workbench as wb
from workbench.retrieval import support_sets as support_set_module
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.support_sets import (
    EOS,
    MappedEncoder,
    PairFit,
    _average_precision,
    contrastive,
    pairs,
    state,
    support_sets,
    trained,
)

FACTS = ("a", "b", "c", "d")


def question(*gold):
    edges = tuple((-1, i) for i in gold)
    return Evidence("x", "q", FACTS, edges, "", "", ())


def by_state(rows):
    out = {}
    for here, action, label in rows:
        assert (here, action) not in {(s, a) for s, acts in out.items() for a in acts}
        out.setdefault(here, {})[action] = label
    return out


def table(right):
    return {name: int(name in right) for name in (EOS, *FACTS)}


def test_pairs_of_one_and_of_two_facts_as_released():
    assert by_state(pairs(question(1), released=True)) == {"q": table("b"), "q[SEP]b": table([EOS])}
    without = {"q[SEP]b": {a: int(a == "d") for a in FACTS},
               "q[SEP]d": {a: int(a == "b") for a in FACTS}}  # fmt: skip
    two = {"q": table("bd"), **without, "q[SEP]b[SEP]d": {EOS: 1}}
    assert by_state(pairs(question(1, 3), released=True)) == two
    ours = two | {"q[SEP]b": table("d"), "q[SEP]d": table("b"), "q[SEP]b[SEP]d": table([EOS])}
    assert by_state(pairs(question(1, 3))) == ours


def test_pairs_of_more_facts():
    released = by_state(pairs(question(0, 1, 3), released=True))
    assert released["q"] == table("abd")
    assert {s for s in released if s.count("[SEP]") == 2} == {"q[SEP]a[SEP]b"}
    ours = by_state(pairs(question(0, 1, 3), orders=3))
    for here, actions in ours.items():
        read = here.split("[SEP]")[1:]
        left = {"a", "b", "d"} - {*read}
        assert actions == table(left or [EOS])
    assert [s.count("[SEP]") for s in ours].count(3) == 1
    assert pairs(question(0, 1, 3)) == pairs(question(0, 1, 3))


def test_the_loss_is_that_of_the_formula():
    torch.manual_seed(0)
    a, b = torch.randn(40, 6), torch.randn(40, 6)
    labels = (torch.rand(40) > 0.5).float()
    total = 0.0
    for x, y, label in zip(a.tolist(), b.tolist(), labels.tolist(), strict=True):
        dot = sum(p * q for p, q in zip(x, y, strict=True))
        d = 1 - dot / (sum(p * p for p in x) * sum(q * q for q in y)) ** 0.5
        total += 0.5 * (d**2 if label else max(0.0, 0.5 - d) ** 2)
    assert contrastive(a, b, labels, 0.5).item() == pytest.approx(total / 40, rel=1e-5)


def plan(cosines):
    """An embedding in which (state, action) has the cosine that a table says, else -1."""
    names = [EOS, *FACTS]

    def embed(texts):
        rows = torch.zeros(len(texts), 6)
        for row, text in zip(rows, texts, strict=True):
            if text in names:
                row[names.index(text)] = 1.0
            else:
                wanted = torch.tensor([cosines(text, name) for name in names])
                row[:5] = wanted
                row[5] = (1 - wanted.square().sum()).clamp(min=0).sqrt()
        return rows

    return embed


def test_what_is_searched_is_what_is_written_down():
    likely = {"q": {"a": 0.6, "b": 0.55}, "q[SEP]a": {"b": 0.6, EOS: 0.52}, "q[SEP]b": {"a": 0.7},
              "q[SEP]b[SEP]a": {EOS: 0.8}}  # fmt: skip
    embed = plan(lambda here, action: likely.get(here, {}).get(action, 0.0))
    sets = support_sets(embed, "q", FACTS, above=0.5)
    # {a} closes; {a, b} is reached by b first, whose total is larger, and closes.
    assert sets == [((0, 1), round((0.55 + 0.7 + 0.8) / 3, 5)), ((0,), round(1.12 / 2, 5))]
    released = support_sets(embed, "q", FACTS, above=0.5, rounds=2, reuse=True)
    assert {facts for facts, _ in released} == {(0,), (0, 1)}
    assert dict(released)[0, 1] == pytest.approx(0.625)
    assert support_sets(embed, "q", FACTS, above=0.9) == []
    assert support_sets(embed, "q", FACTS, above=0.5, states=1) == [((0,), 0.56)]


def test_no_fact_twice_no_more_rounds_and_no_third_fact_as_released():
    embed = plan(lambda here, action: 0.0 if action == EOS else 0.5)
    every = {c for n in (1, 2, 3, 4) for c in itertools.combinations(range(4), n)}
    ours = {facts for facts, _ in support_sets(embed, "q", FACTS, above=0.4, states=99)}
    assert ours == {(0, 1, 2, 3)}
    limited = support_sets(embed, "q", FACTS, above=0.4, rounds=3)
    assert {facts for facts, _ in limited} == {c for c in every if len(c) == 3}
    released = support_sets(embed, "q", FACTS, above=0.4, rounds=2, reuse=True)
    assert {facts for facts, _ in released} == {c for c in every if len(c) <= 2}


def test_average_precision_by_hand():
    embed = plan(lambda here, action: {EOS: 0.1, "a": 0.5, "b": 0.4, "c": 0.3, "d": 0.4}[action])
    rows = [("q", "a", 0), ("q", "b", 1), ("q", "d", 0), ("q", "c", 1), ("q", EOS, 0)]
    # b equals d, of which the wrong one counts first.
    assert _average_precision(embed, rows) == pytest.approx((1 / 3 + 2 / 4) / 2)


@pytest.mark.parametrize(("weight", "share"), [(1.0, 0.1), (9.0, 0.5), (36.0, 0.8)])
def test_right_pairs_are_drawn_as_often_as_their_weight_says(monkeypatch, weight, share):
    """Of a tenth that are right, `weight` times as often as the others."""
    drawn = []

    def counted(a, b, labels, margin):
        drawn.extend(labels.tolist())
        return contrastive(a, b, labels, margin)

    monkeypatch.setattr(support_set_module, "contrastive", counted)
    encoder = wb.load_encoder("lex", device="cpu")
    rows = [("q", f"fact {i}", int(i % 10 == 0)) for i in range(1000)]
    trained(MappedEncoder(encoder), rows, rows[:20], PairFit(epochs=3, positive_weight=weight), 0)
    assert len(drawn) == 3000
    assert sum(drawn) / 3000 == pytest.approx(share, abs=0.04)


def test_training_tells_pairs_apart_and_is_the_same_again():
    encoder = wb.load_encoder("lex", device="cpu")
    told = tuple(f"{name} mends the {thing}." for name in ("Ada", "Bo") for thing in
                 ("gate", "door", "roof", "boat"))  # fmt: skip
    made = [Evidence(str(i), f"Who mends the {t.split()[-1]}", told, ((-1, i),), "", "", ())
            for i, t in enumerate(told)]  # fmt: skip
    rows = [row for q in made for row in pairs(q)]
    fit = PairFit(epochs=30, batch=20, lr=2e-3, warm=5, every=10)
    before = MappedEncoder(encoder)
    vectors: dict = {}
    after = [trained(MappedEncoder(encoder, vectors), rows, rows, fit, 3) for _ in range(2)]
    assert torch.equal(after[0].map.weight, after[1].map.weight)
    assert _average_precision(after[0], rows) > _average_precision(before, rows) + 0.1
    assert set(vectors) == {text for row in rows for text in row[:2]}
    torch.testing.assert_close(before([told[0]]), encoder.encode([told[0]]))


def test_what_is_wrong_is_refused():
    embed = plan(lambda *_: 0.0)
    for wrong in ("", " ", 5):
        with pytest.raises(ValueError, match="question"):
            support_sets(embed, wrong, FACTS)
    with pytest.raises(ValueError, match="facts"):
        support_sets(embed, "q", [])
    with pytest.raises(ValueError, match="fact 1 reads '<eos>', which closes a set"):
        support_sets(embed, "q", ["a", EOS])
    with pytest.raises(ValueError, match="fact 0 reads ' <EOS>'"):
        pairs(Evidence("x", "q", (" <EOS>", "b"), ((-1, 1),)))
    for name, value in {"above": 2, "rounds": 0, "states": 0}.items():
        with pytest.raises(ValueError, match=name):
            support_sets(embed, "q", FACTS, **{name: value})
    encoder = MappedEncoder(wb.load_encoder("lex", device="cpu"))
    with pytest.raises(ValueError, match="right ones and wrong ones"):
        trained(encoder, [("q", "a", 1)], [("q", "a", 1)], PairFit(), 0)
    assert state("q", []) == "q"
