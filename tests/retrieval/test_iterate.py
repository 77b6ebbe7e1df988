"""Iterated retrieval: against a plain loop, and on worlds that MiniLM has never seen."""

import random
from fractions import Fraction
from itertools import permutations
from types import SimpleNamespace

import pytest
import torch

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from workbench.errors import ModelError
from workbench.retrieval.graphs import ROOT
from workbench.retrieval.index import Index, index_of, indexes_of
from workbench.retrieval.iterate import Reading, best_count, iterated, one_shot
from workbench.retrieval.lexical import Bm25, TfIdf
from workbench.worlds.facts import World
from workbench.worlds.pools import questions

ASKED = ["mend the gate", "old Mara", "look at her bone"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    encoder = wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert")), device="cpu")
    rng = random.Random(0)
    facts = sorted({" ".join(rng.choices(WORDS, k=rng.randint(2, 7))) for _ in range(12)})
    return index_of(encoder, facts, tmp_path_factory.mktemp("index") / "index")


def cosine(index, question, read, at):
    query = " ".join([question, *(index.facts[i] for i in read)])
    vectors = torch.from_numpy(index.vectors.copy()).float()
    return (index.encoder.encode([query]) @ vectors[at]).item()


def test_one_shot_is_the_nearest(index):
    for question, reading in zip(ASKED, one_shot(index, ASKED, [1, 3, 5]), strict=True):
        order = sorted(range(len(index.facts)), key=lambda at: -cosine(index, question, (), at))
        assert [*reading.facts] == order[: len(reading.facts)]


def test_a_greedy_reading_takes_the_nearest_that_is_not_read(index):
    for question, count, (reading,) in zip(
        ASKED, (1, 3, 4), iterated(index, ASKED, [1, 3, 4]), strict=True
    ):
        read = []
        for _ in range(count):
            left = [at for at in range(len(index.facts)) if at not in read]
            read.append(max(left, key=lambda at: cosine(index, question, read, at)))
        assert [*reading.facts] == read
        assert reading.edges == [*zip([ROOT, *read[:-1]], read, strict=True)]


def test_a_beam_of_all_is_the_best_of_all_orders(index):
    (readings,) = iterated(index, ASKED[:1], [2], beam=200)
    means = {
        pair: (cosine(index, ASKED[0], (), pair[0]) + cosine(index, ASKED[0], pair[:1], pair[1]))
        / 2
        for pair in permutations(range(len(index.facts)), 2)
    }
    assert len(readings) == len(means)
    assert readings[0].score == pytest.approx(max(means.values()), abs=2e-5)
    for reading in readings:
        assert reading.score == pytest.approx(means[reading.facts], abs=2e-5)


def test_a_reading_ends_where_nothing_is_near_enough(index):
    whole = iterated(index, ASKED, [6] * 3)
    limit = sorted(c for (reading,) in whole for c in reading.scores)[6]
    ended = iterated(index, ASKED, [6] * 3, least=limit)
    for (long,), (short,) in zip(whole, ended, strict=True):
        below = [i for i, c in enumerate(long.scores) if c < limit]
        assert short.facts == long.facts[: below[0] if below else 6]
    above = whole[1][0].scores[0] + 2e-5
    assert iterated(index, ASKED[1:2], [3], least=above) == [[Reading()]]


def plain_beam(cosines, question, count, beam, least):
    """Readings as tuples of facts, in hundredths of a cosine and by fractions, a level at a time.

    `cosines`: (question, facts read) → each fact's, in hundredths.
    """

    def score(reading):
        steps = [cosines(question, reading[:i])[fact] for i, fact in enumerate(reading)]
        return Fraction(sum(steps), len(steps)) if steps else -100

    held = [()]
    for level in range(count):
        longer = []
        for reading in held:
            row = cosines(question, reading)
            left = sorted(set(range(len(row))) - {*reading}, key=lambda at: (-row[at], at))
            near = [at for at in left[:beam] if row[at] >= least]
            grows = len(reading) == level and near
            longer += [(*reading, at) for at in near] if grows else [reading]
        held = sorted(longer, key=lambda reading: (-score(reading), reading))[:beam]
    return held


@pytest.mark.parametrize("beam", [1, 2, 3, 6])
@pytest.mark.parametrize("least", [-1.0, 0.6, 0.8])
def test_readings_of_a_beam_are_those_of_a_plain_loop(beam, least):
    """Over made-up cosines, so that some readings end before others and means are far apart."""
    facts = [f"fact {i}" for i in range(6)]

    def cosines(question, read):
        drawn = random.Random(" ".join([question, *(facts[at] for at in read)]))
        return drawn.sample(range(30, 98), len(facts))

    def encode(queries):
        rows = []
        for query in queries:
            question, *read = query.split(" fact ")
            rows.append(cosines(question, [int(at) for at in read]))
        return torch.tensor(rows) / 100

    index = Index(torch.eye(len(facts)).numpy(), SimpleNamespace(encode=encode), facts)
    asked, counts = [f"question {i}" for i in range(12)], [1, 2, 3, 4] * 3
    readings = iterated(index, asked, counts, beam=beam, least=least)
    for question, count, of_question in zip(asked, counts, readings, strict=True):
        expected = plain_beam(cosines, question, count, beam, 100 * least)
        assert [reading.facts for reading in of_question] == expected
    if least == 0.8:
        assert {len(reading.facts) for held in readings for reading in held} >= {1, 2, 3}


WORDED = sorted({" ".join(random.Random(i).choices(WORDS, k=2 + i % 6)) for i in range(14)})


@pytest.mark.parametrize("ranker", [Bm25, TfIdf])
@pytest.mark.parametrize("beam", [1, 3, 5])
def test_readings_by_words_are_those_of_a_plain_loop(ranker, beam):
    """Each query is scored whole, by an index that has kept nothing."""

    def scores(question, read):
        query = " ".join([question, *(WORDED[at] for at in read)])
        return [round(value * 1e5) for value in ranker(WORDED).scores(query).tolist()]

    counts = [1, 2, 4]
    readings = iterated(ranker(WORDED), ASKED, counts, beam=beam)
    for question, count, of_question in zip(ASKED, counts, readings, strict=True):
        expected = plain_beam(scores, question, count, beam, 0)
        assert [reading.facts for reading in of_question] == expected


@pytest.mark.parametrize("ranker", [Bm25, TfIdf, None])
def test_each_question_has_its_own_pool(index, ranker):
    pools = [WORDED[:5], WORDED[5:7], WORDED[3:], WORDED[:5]]
    scorers = [ranker(pool) for pool in pools] if ranker else indexes_of(index.encoder, pools)
    asked, counts = [*ASKED, "a hammer"], [2, 2, 3, 5]
    together = iterated(scorers, asked, counts, beam=3)
    rows = zip(scorers, asked, counts, strict=True)
    assert together == [iterated(each, [text], [n], beam=3)[0] for each, text, n in rows]
    for pool, readings in zip(pools, together, strict=True):
        assert all(at < len(pool) for reading in readings for at in reading.facts)
    rows = zip(scorers, asked, counts, strict=True)
    once = [one_shot(each, [text], [n])[0] for each, text, n in rows]
    assert one_shot(scorers, asked, counts) == once


def test_pools_of_vectors_are_of_their_facts(index):
    pools = [WORDED[:5], WORDED[3:]]
    for pool, of_pool in zip(pools, indexes_of(index.encoder, pools), strict=True):
        assert of_pool.facts == pool
        torch.testing.assert_close(torch.from_numpy(of_pool.vectors), index.encoder.encode(pool))


def test_the_number_of_steps_is_that_of_the_best_f1():
    scorers = [Bm25(WORDED[:4]), Bm25(WORDED), Bm25(WORDED[2:])]
    gold = [(0, 2), (1, 5, 6), (3, 4)]
    means = []
    for count in range(1, 7):
        readings = iterated(scorers, ASKED, [min(count, len(s.facts)) for s in scorers], beam=2)
        shares = [
            2 * len({*held[0].facts} & {*facts}) / (len(held[0].facts) + len(facts))
            for held, facts in zip(readings, gold, strict=True)
        ]
        means.append(sum(shares) / 3)
    assert best_count(scorers, ASKED, gold, 6, beam=2) == 1 + means.index(max(means)) > 1
    assert best_count(scorers, ASKED, gold, 1, beam=2) == 1


def test_scorers_are_one_for_each_question():
    with pytest.raises(ValueError, match="2 scorers for 3 questions"):
        iterated([Bm25(WORDED)] * 2, ASKED, [1, 1, 1])
    with pytest.raises(ValueError, match=r"counts\[1\]=3"):
        one_shot([Bm25(WORDED), Bm25(WORDED[:2]), Bm25(WORDED)], ASKED, [3, 3, 3])


@pytest.mark.parametrize(
    ("name", "asked", "counts", "given"),
    [
        ("questions", [""], [1], {}), ("questions", [], [], {}), ("counts", ["a"], [13], {}),
        ("counts", ["a"], [0], {}), ("counts", ["a"], [1, 1], {}),
        ("beam", ["a"], [1], {"beam": 0}), ("least", ["a"], [1], {"least": float("nan")}),
    ],
    ids=["blank", "none", "too many", "zero", "two", "beam", "least"],
)  # fmt: skip
def test_bad_input(index, name, asked, counts, given):
    with pytest.raises(ValueError, match=name):
        iterated(index, asked, counts, **given)


@pytest.mark.slow
def test_minilm_alone_cannot_hop(tmp_path):
    try:
        encoder = wb.load_encoder("minilm", device="cpu")
    except ModelError as error:
        pytest.skip(str(error))
    worlds = [World("test", number) for number in range(2)]
    bases = {
        w.name: index_of(encoder, [f.text for f in w.facts], tmp_path / w.name) for w in worlds
    }
    families = (("lookup_attribute", "lookup_relation"), ("bridge_of_two",), ("bridge_of_three",))
    right = []
    for names in families:
        totals = [0, 0]
        drawn = questions("test", 40, families=names)
        for name, base in bases.items():
            here = [q for q in drawn if q.world == name]
            asked, counts = [q.question for q in here], [len(q.nodes) for q in here]
            gold = [{q.facts[node] for node in q.nodes} for q in here]
            once = one_shot(base, asked, counts)
            again = [readings[0] for readings in iterated(base, asked, counts)]
            for side, read in enumerate((once, again)):
                texts = [{base.facts[at] for at in reading.facts} for reading in read]
                totals[side] += sum(a == b for a, b in zip(texts, gold, strict=True))
        right.append(totals)
    (first, same), (second, hopped), (third, last) = right
    assert first == same >= 25
    assert second <= hopped <= 12
    assert third <= last <= 2
