"""Which way answers are scored: detected, stated, contradicted; and items keyed the wrong way."""

import numpy as np
import pytest

from tests.helpers.answers import SURVEY, people, rows_of, stored
from workbench.data.inventories import Inventory, Item, read_inventory
from workbench.data.keying import contradicting, detect_keying, evidence, reverse
from workbench.data.respondents import read_respondents
from workbench.errors import DatasetError


def test_reversing_by_hand_twice_is_nothing():
    """Every answer to every item."""
    values = np.arange(6, dtype=np.int8)[:, None].repeat(80, 1)
    once = reverse(values, SURVEY)
    for item, answers in zip(SURVEY.items, once.T, strict=True):
        assert answers.tolist() == ([0, 1, 2, 3, 4, 5] if item.sign > 0 else [0, 5, 4, 3, 2, 1])
    assert once.dtype == np.int8
    assert np.array_equal(reverse(once, SURVEY), values)


def test_both_conventions_are_detected_and_end_in_the_same_matrix(tmp_path):
    raw = people()
    turned = reverse(raw, SURVEY)
    respondents = [read_respondents(stored(tmp_path, rows_of(v)), SURVEY) for v in (raw, turned)]
    assert [r.keying.verdict for r in respondents] == ["raw", "reverse-scored"]
    assert np.array_equal(respondents[0].values, raw)
    assert np.array_equal(respondents[1].values, raw)
    assert respondents[0].keying.correlation == pytest.approx(-respondents[1].keying.correlation)
    # By hand, from the definition: every facet has four pairs of opposite statements.
    pairs = [np.corrcoef(raw[:, a], raw[:, b])[0, 1] for a in range(80) for b in range(a)
             if SURVEY.items[a].facet == SURVEY.items[b].facet
             and SURVEY.items[a].sign != SURVEY.items[b].sign]  # fmt: skip
    assert respondents[0].keying.pairs == len(pairs) == 80
    assert respondents[0].keying.correlation == pytest.approx(np.mean(pairs))


def test_what_cannot_be_decided_has_to_be_stated(tmp_path):
    noise = np.random.default_rng(0).integers(1, 6, (60, 80))
    for values in (people(10), noise):
        path = stored(tmp_path, rows_of(values))
        with pytest.raises(DatasetError, match=r"80 pairs.*keyed='raw' or keyed='reverse-scored'"):
            read_respondents(path, SURVEY)
        assert read_respondents(path, SURVEY, keyed="raw").values.tolist() == values.tolist()
        turned = read_respondents(path, SURVEY, keyed="reverse-scored")
        assert np.array_equal(turned.values, reverse(values, SURVEY))
        assert turned.keying.stated
    strong = np.random.default_rng(0).integers(1, 6, (60, 1))
    # As clear as can be, but one pair short of enough (2 x 2), then enough (3 x 2).
    for count, signs in ((4, (1, 1, -1, -1)), (6, (1, 1, 1, -1, -1))):
        few = Inventory(
            "x", tuple(Item(f"q{n}", f"t{n}", "A", "f", s, "train") for n, s in enumerate(signs))
        )
        answers = np.where(np.array(signs) > 0, strong, 6 - strong)
        if count == 4:
            with pytest.raises(DatasetError, match=r"4 pairs.*60 people.*-1\.00"):
                detect_keying(answers, few)
        else:
            assert detect_keying(answers, few).verdict == "raw"
            assert detect_keying(answers, few).pairs == 6
            with pytest.raises(DatasetError, match=r"6 pairs.*19 people"):
                detect_keying(answers[:19], few)
            assert detect_keying(answers[:20], few).verdict == "raw"
    one_sign = Inventory("x", tuple(Item(f"q{n}", f"t{n}", "A", "f", 1, "train") for n in range(9)))
    with pytest.raises(DatasetError, match="0 pairs"):
        detect_keying(people()[:, :9], one_sign)


def test_a_statement_that_the_data_contradict(tmp_path):
    path = stored(tmp_path, rows_of(people()))
    with pytest.raises(DatasetError, match=r"contradicts the data.*correlate -0\.\d\d"):
        read_respondents(path, SURVEY, keyed="reverse-scored")
    insisted = read_respondents(path, SURVEY, keyed="reverse-scored", trust_keyed=True)
    assert np.array_equal(insisted.values, reverse(people(), SURVEY))


def test_missing_answers_are_left_out_of_the_correlations():
    """Filled with 0 they would pull opposite statements together."""
    values = people(60)
    gone = np.random.default_rng(1).random(values.shape) < 0.2
    full, sparse = detect_keying(values, SURVEY), detect_keying(np.where(gone, 0, values), SURVEY)
    assert sparse.verdict == "raw"
    assert sparse.correlation == pytest.approx(full.correlation, abs=0.05)


@pytest.mark.parametrize("scored", ["raw", "reverse-scored"])
@pytest.mark.parametrize("level", [(4, 2), (5, 1), (3,)])
def test_people_who_answer_alike_throughout_do_not_tip_the_scales(scored, level):
    """As many of them as of others: they agree to a statement and to its opposite."""
    lazy = np.repeat(np.resize(level, 40)[:, None], 80, 1)
    values = np.concatenate([people(40), lazy])
    values = values if scored == "raw" else reverse(values, SURVEY)
    keying = detect_keying(values, SURVEY)
    assert keying.verdict == scored
    alone = people(40) if scored == "raw" else reverse(people(40), SURVEY)
    assert keying.correlation == pytest.approx(detect_keying(alone, SURVEY).correlation)
    with pytest.raises(DatasetError, match="cannot tell"):
        detect_keying(lazy, SURVEY)


def test_a_correlation_of_three_people_says_nothing():
    values = people(40)
    answered = np.random.default_rng(0).random((40, 80)) < 0.25
    assert evidence(np.where(answered, values, 0), SURVEY).pairs == 0


def test_what_is_stated_has_the_evidence_of_the_data_beside_it(tmp_path):
    values = people(30)
    values[:, 40:] = np.random.default_rng(0).integers(1, 6, (30, 40))
    seen = evidence(values, SURVEY)
    assert (seen.verdict, seen.pairs) == ("undecided", 80)
    kept = read_respondents(stored(tmp_path, rows_of(values)), SURVEY, keyed="raw").keying
    assert (kept.verdict, kept.stated) == ("raw", True)
    assert (kept.correlation, kept.positive, kept.pairs) == (
        seen.correlation, seen.positive, seen.pairs,
    )  # fmt: skip
    assert kept.correlation < -0.05


@pytest.mark.parametrize("scored", ["raw", "reverse-scored"])
def test_an_item_keyed_the_wrong_way_is_named(tmp_path, caplog, scored):
    values = people(60)
    assert contradicting(reverse(values, SURVEY), SURVEY) == []
    items = list(SURVEY.items)
    wrong = next(n for n, i in enumerate(items) if i.trait == "E" and i.sign < 0)
    turned = values.copy()
    turned[:, wrong] = 6 - turned[:, wrong]
    assert contradicting(reverse(turned, SURVEY), SURVEY) == [items[wrong].id]
    stored_values = turned if scored == "raw" else reverse(turned, SURVEY)
    respondents = read_respondents(stored(tmp_path, rows_of(stored_values)), SURVEY)
    assert respondents.keying.verdict == scored
    assert f"items {items[wrong].id} contradict their facet" in caplog.text
    # Of few people, or where all agree, nothing is said.
    assert contradicting(reverse(turned[:19], SURVEY), SURVEY) == []
    assert contradicting(np.full((60, 80), 3), SURVEY) == []


def test_released_items_do_not_contradict_their_facets(papi, caplog):
    inventory = read_inventory(papi)
    read_respondents(papi / "subjects_50.json", inventory)
    assert not caplog.records


def test_an_item_is_compared_with_the_others_of_its_facet_alone():
    items = [Item(f"q{n}", f"say {n}", "A", "f", 1, s) for n, s in enumerate(("train", "test"))]
    answers = np.random.default_rng(0).integers(1, 6, (30, 1))
    opposed = np.hstack([answers, 6 - answers])
    assert contradicting(opposed, Inventory("two", tuple(items))) == ["q0", "q1"]
    assert contradicting(opposed, Inventory("two", (items[0], Item(*"bcAg", 1, "test")))) == []
