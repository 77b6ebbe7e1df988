"""Searches beside one alpha and one fold at a time; what validation may know."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.pas import INVENTORY, TEST, TRAIN, respondents
from workbench.data.inventories import Inventory
from workbench.errors import DatasetError
from workbench.papers.pas import answer, prompts
from workbench.papers.pas import search as searching
from workbench.papers.pas.answer import distribution
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.personas import personas, probes
from workbench.papers.pas.search import (
    align,
    directions_by_fold,
    folds,
    search,
    shuffled,
    system_prompts,
)

FEW = Settings(heads=4, alphas=(0.0, 3.0), folds=2, orders=("forward",), portrait_tokens=4)


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_part_the_train_items_and_spread_every_facet(seed):
    parts = folds(INVENTORY, 5, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(TRAIN)))
    facets = {}
    for place, item in enumerate(TRAIN):
        one = INVENTORY.items[item]
        facets.setdefault((one.trait, one.facet), set()).add(place)
    for members in facets.values():
        counts = [len(members & set(part.tolist())) for part in parts]
        assert max(counts) - min(counts) <= 1
    for a, b in zip(folds(INVENTORY, 2, seed), parts, strict=False):
        assert a.tolist() == b.tolist()
    assert any(
        a.tolist() != b.tolist() for a, b in zip(parts, folds(INVENTORY, 5, seed + 2), strict=True)
    )


def asked(model, contrast, everybody, mode, monkeypatch, few=FEW):
    """(direction, system prompt, statements) of every batch that one subject's search asks."""
    seen = []
    real = answer.answers

    def spy(model, system, statements, settings, **rest):
        seen.append((rest["direction"], system, statements))
        return real(model, system, statements, settings, **rest)

    monkeypatch.setattr(searching, "answers", spy)
    by_fold = directions_by_fold(contrast, everybody, few)
    systems = system_prompts(model, mode, everybody, [f.held for f in by_fold], few)
    search(model, contrast, everybody, 1, by_fold, systems[1], few, mode)
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("mode", ["pas", "fewshot+pas", "p2+pas"])
def test_validation_never_sees_the_answers_it_is_scored_on(model, captured, mode, monkeypatch):
    everybody = respondents()
    held = folds(INVENTORY, FEW.folds)
    turned = everybody.values.copy()
    for place in held[0]:
        turned[1, TRAIN[place]] = 6 - turned[1, TRAIN[place]]
    other = replace(everybody, values=turned)
    assert (turned != everybody.values).any()
    before, after = (asked(model, captured, r, mode, monkeypatch) for r in (everybody, other))
    assert len(before) == FEW.folds + 1
    a, b = before[0], after[0]
    assert a[0].heads == b[0].heads
    assert torch.equal(a[0].unit, b[0].unit)
    assert torch.equal(a[0].scale, b[0].scale)
    assert a[1:] == b[1:]
    texts = [INVENTORY.items[i].text for i in TRAIN]
    assert a[2] == [texts[p] for p in held[0]]
    if mode == "fewshot+pas":
        assert not any(f";{texts[p]}:" in a[1] for p in held[0])
        assert all(f";{texts[p]}:" in a[1] for p in range(len(TRAIN)) if p not in held[0])
    # What the other fold and the final one are told does change.
    for a, b in zip(before[1:], after[1:], strict=True):
        assert a[0].heads != b[0].heads or not torch.equal(a[0].unit, b[0].unit)
        assert mode != "fewshot+pas" or a[1] != b[1]
    assert before[-1][2] == [INVENTORY.items[i].text for i in TEST]


def test_statements_are_scored_in_lower_case(model, captured, monkeypatch):
    capital = Inventory(
        "capital", tuple(replace(i, text=f"Am from Mara: {i.text}") for i in INVENTORY.items)
    )
    everybody = replace(respondents(), inventory=capital)
    for wording in ("second", "paper"):
        few = replace(FEW, wording=wording)
        *_, last = asked(model, captured, everybody, "pas", monkeypatch, few)
        assert last[2] == [t.lower() for t in prompts.texts(capital, TEST, wording, lower=False)]
        ((told,), *_) = system_prompts(model, "fewshot+pas", everybody, [[]], few)
        assert prompts.texts(capital, TRAIN[:1], wording, lower=False)[0] in told
    assert last[2][0] == f"am from mara: {INVENTORY.items[TEST[0]].text}"


def test_system_prompts(model):
    everybody = respondents(2, missing=0.1)
    held = [*folds(INVENTORY, 1), np.array([], int)]
    plain = system_prompts(model, "pas", everybody, held, FEW)
    assert plain == [[prompts.SYSTEM] * 2] * 2
    told = system_prompts(model, "fewshot+pas", everybody, held, FEW)
    for s, row in enumerate(told):
        shown = [i for p, i in enumerate(TRAIN) if p not in held[0]]
        for items, system in zip((shown, TRAIN), row, strict=True):
            pairs = [
                f"{INVENTORY.items[i].text}:{prompts.LABELS[everybody.values[s, i]]}" for i in items
            ]
            assert system == prompts.OPENING + ";".join(pairs)
    assert any(":Unknown" in row[1] for row in told)
    described = system_prompts(model, "p2+pas", everybody, held, FEW)
    for row, systems in zip(described, told, strict=True):
        for text, system in zip(row, systems, strict=True):
            one = wb.generate(model, [prompts.portrait_request(system)], max_new_tokens=4)
            assert [[text]] == one
    with pytest.raises(ValueError, match="mode='dpo'; use one of pas"):
        system_prompts(model, "dpo", everybody, held, FEW)


@pytest.mark.parametrize("mode", ["pas", "fewshot+pas"])
def test_a_search_equals_one_alpha_and_one_fold_at_a_time(model, captured, mode):
    everybody = respondents(missing=0.08)
    mine = everybody.values[2]
    mine[[TRAIN[folds(INVENTORY, FEW.folds)[0][0]], TEST[3]]] = 0
    by_fold = directions_by_fold(captured, everybody, FEW)
    held = [f.held for f in by_fold]
    systems = system_prompts(model, mode, everybody, held, FEW)
    got = search(model, captured, everybody, 2, by_fold, systems[2], FEW, mode)

    def said(fold, items, alpha):
        known = np.array([0 if p in fold else mine[i] for p, i in enumerate(TRAIN)])
        heads = probes(captured, known, 0).top(FEW.heads, FEW.selection)
        lock = personas(captured, known[None]).direction(0, heads, captured)
        system = systems[2][[f.tolist() for f in held].index(fold)]
        texts = [INVENTORY.items[i].text.lower() for i in items]
        with wb.steer(model, lock, alpha):
            plain = distribution(model, system, texts, FEW.orders)
        return answer.values(plain)[0].tolist(), heads

    def errors(pairs):
        total = 0.0
        for trait in INVENTORY.traits:
            gaps = [
                abs(a - mine[i]) for i, a in pairs if mine[i] and INVENTORY.items[i].trait == trait
            ]
            total += sum(gaps) / len(gaps) if gaps else 0.0
        return total

    for a, alpha in enumerate(FEW.alphas):
        pairs = []
        for fold in held[:-1]:
            items = [TRAIN[p] for p in fold]
            pairs += zip(items, said(fold.tolist(), items, alpha)[0], strict=True)
        assert got.validation[a] == pytest.approx(errors(pairs))
        replies, heads = said([], TEST, alpha)
        assert got.answers[a] == replies
        assert got.test[a] == pytest.approx(errors(list(zip(TEST, replies, strict=True))))
    assert got.heads == heads
    assert got.answers[0] != got.answers[1]
    assert (got.id, got.mode, got.alphas) == ("p2", mode, list(FEW.alphas))
    assert got.prompts == 2 * sum(len(f) for f in held)
    unsteered = distribution(
        model, systems[2][-1], [INVENTORY.items[i].text for i in TEST], FEW.orders
    )
    assert got.answers[0] == answer.values(unsteered)[0].tolist()
    assert got.share == pytest.approx(
        np.mean([by_fold[-1].personas.share[2, layer, head] for layer, head in heads]), abs=1e-6
    )
    assert min(got.seconds_fit, got.seconds_search, got.seconds_test) > 0


def test_shuffled_answers_are_the_same_answers_elsewhere():
    everybody = respondents(5, missing=0.1)
    before = everybody.values.copy()
    mixed = shuffled(everybody, 3)
    assert np.array_equal(everybody.values, before)
    assert np.array_equal(mixed.values[:, TEST], before[:, TEST])
    for row, old in zip(mixed.values[:, TRAIN].tolist(), before[:, TRAIN].tolist(), strict=True):
        assert Counter(row) == Counter(old)
        assert row != old
    assert np.array_equal(mixed.values, shuffled(everybody, 3).values)
    assert not np.array_equal(mixed.values, shuffled(everybody, 4).values)
    orders = {tuple(np.argsort(r, kind="stable")) for r in mixed.values[:, TRAIN]}
    assert len(orders) == 5


def test_an_alignment_is_the_search_of_one_person_or_alpha_1(model, captured):
    person = respondents().take([2])
    aligned = align(model, captured, person, FEW, seed=1)
    by_fold = directions_by_fold(captured, person, FEW, 1)
    systems = system_prompts(model, "pas", person, [f.held for f in by_fold], FEW)
    got = search(model, captured, person, 0, by_fold, systems[0], FEW, seed=1)
    assert aligned.searched.validation == got.validation
    assert align(model, captured, person, FEW).searched.validation != got.validation
    assert aligned.alpha == got.alphas[int(np.argmin(got.validation))]
    assert aligned.direction.heads == got.heads
    short = person.values.copy()
    short[0, TRAIN[::3]] = 0
    few = align(model, captured, replace(person, values=short), FEW)
    assert (few.alpha, few.searched) == (1.0, None)
    own = short[0, TRAIN]
    assert few.direction.heads == probes(captured, own, 0).top(FEW.heads, FEW.selection)
    alone = personas(captured, own[None]).direction(0, few.direction.heads, captured)
    assert few.direction.digest() == alone.digest()


def test_what_was_not_answered_or_cannot_be_read_is_no_error(model, captured, monkeypatch):
    """Written replies: unreadable ones are left out, one trait of nothing else counts 4."""
    everybody, official = respondents(), replace(FEW.official(), folds=1, alphas=(0.0, 3.0))
    traits = [INVENTORY.items[i].trait for i in TEST]
    replies = np.array([3 if t != "A" else 0 for t in traits])
    replies[traits.index("C")] = 0

    def replied(model, system, statements, order):
        return replies if len(statements) == len(TEST) else np.full(len(statements), 2)

    monkeypatch.setattr(answer, "written", replied)
    by_fold = directions_by_fold(captured, everybody, official)
    got = search(model, captured, everybody, 0, by_fold, ["", ""], official)
    own = everybody.values[0]
    assert got.answers == [replies.tolist()] * 2
    gaps = {t: [] for t in "CENO"}
    for item, trait, reply in zip(TEST, traits, replies, strict=True):
        if reply:
            gaps[trait].append(abs(int(own[item]) - 3))
    assert got.test[1] == pytest.approx(4 + sum(np.mean(g) for g in gaps.values()))
    held = {}
    for place in by_fold[0].held:
        item = TRAIN[place]
        held.setdefault(INVENTORY.items[item].trait, []).append(abs(int(own[item]) - 2))
    assert got.validation == pytest.approx([sum(np.mean(g) for g in held.values())] * 2)


def test_who_answered_nothing_that_is_held_out_is_named(captured):
    """All alphas would err by nothing, and the first of them would be called validated."""
    everybody = respondents(3)
    everybody.values[1, [TRAIN[p] for part in folds(INVENTORY, 1) for p in part]] = 0
    with pytest.raises(DatasetError, match="subject p1 answered none of the train items"):
        directions_by_fold(captured, everybody, replace(FEW, folds=1))
    assert len(directions_by_fold(captured, everybody, FEW)) == FEW.folds + 1


def test_a_trait_of_which_nothing_is_held_out_counts_for_nothing(model, captured):
    everybody, one_fold = respondents(2), replace(FEW, folds=1)
    held = [TRAIN[p] for p in folds(INVENTORY, 1)[0]]
    everybody.values[0, [i for i in held if INVENTORY.items[i].trait == "N"]] = 0
    by_fold = directions_by_fold(captured, everybody, one_fold)
    got = search(model, captured, everybody, 0, by_fold, [prompts.SYSTEM] * 2, one_fold)
    assert np.isfinite(got.validation).all()
    assert min(got.validation) > 0
