"""Everybody's directions beside a slow loop over labelled rows."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import workbench as wb
from workbench.data.inventories import read_inventory
from workbench.data.respondents import read_respondents
from workbench.errors import DatasetError
from workbench.papers.pas import personas as people_directions
from workbench.papers.pas.contrast import AnswerContrast
from workbench.papers.pas.personas import personas, probes, stability


def contrast_of(items=15, layers=(3, 7), heads=3, width=5, seed=0, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2 * items, 1, len(layers), heads, width, generator=generator)
    # Agreement differs from disagreement by something common to all items.
    values[0::2] += torch.randn(1, len(layers), heads, width, generator=generator)
    acts = wb.Activations(
        (values + offset,), torch.ones(2 * items, dtype=torch.long), layers, "heads", wb.last(),
        "m", {"n_heads": heads},
    )  # fmt: skip
    return AnswerContrast(acts, tuple(range(items)))


def some_answers(subjects=6, items=15, seed=0):
    values = np.random.default_rng(seed).integers(0, 6, (subjects, items))
    values[:, 0], values[:, 1] = 5, 2  # both sides for everybody
    return values


def by_hand(contrast, answers, kind, layer, head):
    """(direction, unit, scale, share) of one subject and head from rows with labels, float64."""
    one = contrast.acts.values[:, 0, layer, head].double().numpy()
    x, labels, weight = [], [], []
    for item, value in enumerate(answers.tolist()):
        if value in (0, 3):
            continue
        x += [one[2 * item], one[2 * item + 1]]
        labels += [value > 3, value < 3]
        weight += 2 * [abs(value - 3) if kind == "weighted" else 1]
    x, labels, weight = np.array(x), np.array(labels), np.array(weight)[:, None]
    n = len(x) / 2
    difference = (weight * x)[labels].sum(0) / n - (weight * x)[~labels].sum(0) / n
    deltas = [one[2 * i] - one[2 * i + 1] for i in range(len(answers))]
    common = sum(deltas) / len(deltas)
    used = [v - 3 for v in answers.tolist() if v not in (0, 3)]
    lean = sum(v if kind == "weighted" else np.sign(v) for v in used) / n
    share = abs(lean) * np.linalg.norm(common) / np.linalg.norm(difference)
    direction = difference - lean * common if kind == "centered" else difference
    unit = direction / np.linalg.norm(direction)
    return direction, unit, (x @ unit).std(), share, lean


@pytest.mark.parametrize("kind", ["paper", "centered", "weighted"])
@pytest.mark.parametrize("block", [1, 2**20])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_everybodys_directions_equal_the_slow_loop(kind, block, offset, monkeypatch):
    monkeypatch.setattr(people_directions, "_BLOCK", block)
    contrast, answers = contrast_of(offset=offset), some_answers()
    found = personas(contrast, answers, kind)
    assert found.unit.shape == (6, 2, 3, 5)
    close = {"atol": 1e-5, "rtol": 1e-4} if not offset else {"atol": 1e-4, "rtol": 1e-3}
    for s, layer, head in np.ndindex(6, 2, 3):
        raw, unit, scale, share, lean = by_hand(contrast, answers[s], kind, layer, head)
        np.testing.assert_allclose(found.raw[s, layer, head], raw, **close)
        np.testing.assert_allclose(found.unit[s, layer, head], unit, **close)
        np.testing.assert_allclose(found.scale[s, layer, head], scale, **close)
        np.testing.assert_allclose(found.share[s, layer, head], share, **close)
        assert found.lean[s] == pytest.approx(lean, abs=1e-6)


def test_paper_direction_is_what_everybody_shares_and_the_rest():
    """μ1 − μ0 = s̄ δ̄ + mean(s (δ − δ̄)), the sum over used items written out."""
    contrast, answers = contrast_of(), some_answers()
    paper, centered = (personas(contrast, answers, kind) for kind in ("paper", "centered"))
    common = contrast.delta.mean(0)
    for s, row in enumerate(answers):
        used = [i for i, v in enumerate(row.tolist()) if v not in (0, 3)]
        sign = [1.0 if row[i] > 3 else -1.0 for i in used]
        rest = sum(x * (contrast.delta[i] - common) for x, i in zip(sign, used, strict=True)) / len(
            used
        )
        lean = sum(sign) / len(used)
        torch.testing.assert_close(centered.raw[s], rest, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(paper.raw[s], lean * common + rest, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(paper.share, centered.share)
    assert (paper.unit - centered.unit).abs().max() > 0.1


def test_one_subjects_lock_equals_the_contrast_of_the_labelled_rows():
    contrast, answers = contrast_of(), some_answers()
    heads = [(7, 2), (3, 0)]
    found = personas(contrast, answers)
    lock = found.direction(4, heads, contrast, person="Mara")
    used = [i for i, v in enumerate(answers[4]) if v not in (0, 3)]
    rows = [r for i in used for r in (2 * i, 2 * i + 1)]
    labels = [int(x) for i in used for x in (answers[4][i] > 3, answers[4][i] < 3)]
    acts = replace(
        contrast.acts, shards=(contrast.acts.values[rows],), lengths=contrast.acts.lengths[rows]
    )
    expected = wb.HeadDirections.contrast(acts, labels, heads)
    assert lock.heads == expected.heads == heads
    torch.testing.assert_close(lock.unit, expected.unit, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lock.scale, expected.scale, atol=1e-5, rtol=1e-4)
    assert lock.provenance["person"] == "Mara"
    assert lock.provenance["method"] == "pas paper"
    shares = [by_hand(contrast, answers[4], "paper", *cell)[3] for cell in ((1, 2), (0, 0))]
    assert lock.provenance["share_common"] == pytest.approx(np.mean(shares), abs=1e-5)


def test_missing_and_neutral_answers_count_for_nothing():
    contrast, answers = contrast_of(), some_answers()
    skipped = (answers == 0) | (answers == 3)
    assert (answers == 0).any()
    assert (answers == 3).any()
    same = personas(contrast, np.where(skipped, 3 - answers, answers))
    torch.testing.assert_close(same.unit, personas(contrast, answers).unit)
    torch.testing.assert_close(same.scale, personas(contrast, answers).scale)
    # Nor do their activations.
    unused = np.flatnonzero(answers[2] % 3 == 0)
    other = contrast_of()
    other.acts.values[[r for i in unused for r in (2 * i, 2 * i + 1)]] += 5
    for kind in ("paper", "weighted"):
        a, b = (personas(c, answers[2:3], kind) for c in (contrast, other))
        torch.testing.assert_close(a.unit, b.unit)
        torch.testing.assert_close(a.scale, b.scale, atol=1e-5, rtol=1e-5)


def test_a_dead_head_has_no_direction_and_harms_no_other():
    contrast, answers = contrast_of(), some_answers()
    before = personas(contrast, answers)
    contrast.acts.values[:, :, 1, 2] = 4.0
    found = personas(contrast, answers)
    assert found.unit[:, 1, 2].abs().max() == 0
    assert found.scale[:, 1, 2].abs().max() == 0
    assert found.share.isfinite().all()
    torch.testing.assert_close(found.scale[:, 0], before.scale[:, 0])


def test_answers_all_on_one_side(caplog):
    contrast, answers = contrast_of(), some_answers()
    personas(contrast, answers)
    assert not caplog.records
    answers[3] = [5, 4, 0, 3, 5] * 3
    found = personas(contrast, answers)
    assert "1 of 6 subjects are on one side" in caplog.text
    used = [i for i, v in enumerate(answers[3]) if v > 3]
    letter = contrast.delta[used].mean(0)
    torch.testing.assert_close(found.raw[3], letter, atol=1e-5, rtol=1e-4)
    assert found.lean[3] == 1
    personas(contrast, answers, "weighted")
    with pytest.raises(DatasetError, match="answers of subject 3 are on one side"):
        personas(contrast, answers, "centered")


def test_unusable_answers_and_kinds():
    contrast, answers = contrast_of(), some_answers()
    answers[1] = [0, 3, 3] * 5
    with pytest.raises(DatasetError, match="subject 1 has no usable answer"):
        personas(contrast, answers)
    with pytest.raises(ValueError, match="direction='lda'; use one of paper"):
        personas(contrast, answers, "lda")


def test_probes_agree_with_sklearn_on_a_split_by_items():
    contrast = contrast_of(items=40, width=6, seed=3)
    answers = some_answers(1, 40, seed=1)[0]
    contrast.acts.values[0::2] += (
        0.7 * torch.tensor(np.sign(answers - 3))[:, None, None, None, None]
    )
    found = probes(contrast, answers, seed=5)
    used = [i for i, v in enumerate(answers.tolist()) if v not in (0, 3)]
    order = torch.randperm(len(used), generator=torch.Generator().manual_seed(5)).tolist()
    train = {used[k] for k in order[: round(0.6 * len(used))]}
    sides = {True: ([], []), False: ([], [])}
    for item in used:
        rows, labels = sides[item in train]
        rows += [2 * item, 2 * item + 1]
        labels += [int(answers[item] > 3), int(answers[item] < 3)]
    for layer, head in np.ndindex(2, 3):
        x = contrast.acts.values[:, 0, layer, head].double().numpy()
        fit = LogisticRegression(tol=1e-10, max_iter=10000).fit(x[sides[True][0]], sides[True][1])
        for side, ours in ((True, found.train_accuracy), (False, found.validation_accuracy)):
            expected = fit.score(x[sides[side][0]], sides[side][1])
            assert ours[layer, head] == pytest.approx(expected)
        np.testing.assert_allclose(found.weight[layer, head], fit.coef_[0], atol=1e-3)
    assert found.layers == (3, 7)
    assert not torch.equal(
        found.validation_accuracy, probes(contrast, answers, 6).validation_accuracy
    )


def test_stability_by_hand():
    def chosen(*cells):
        return SimpleNamespace(top=lambda k, by: list(cells)[:k] if by == "paper" else [])

    a, b, c = chosen((0, 0), (0, 1), (5, 5)), chosen((0, 1), (0, 0)), chosen((0, 1), (1, 1))
    assert stability([a, b], 2, "paper") == 1
    assert stability([a, c], 2, "paper") == pytest.approx(1 / 3)
    assert stability([a, b, c], 2, "paper") == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


def test_released_values_lean_further_than_raw_ones(shared):
    folder = shared / "papi"
    inventory = read_inventory(folder)
    train = inventory.split("train")
    contrast = contrast_of(items=len(train), layers=(0,), heads=1, width=4)
    lean, share = {}, {}
    for targets in ("raw", "released"):
        everybody = read_respondents(folder / "subjects_50.json", inventory, targets=targets)
        assert len(everybody) == 50
        found = personas(contrast, everybody.values[:, train])
        for s, row in enumerate(everybody.values[:, train].tolist()):
            signs = [1 if v > 3 else -1 for v in row if v not in (0, 3)]
            assert found.lean[s] == pytest.approx(sum(signs) / len(signs), abs=1e-6)
        lean[targets] = found.lean.abs().mean().item()
        share[targets] = found.share.mean().item()
    assert lean["released"] > lean["raw"] + 0.15
    assert share["released"] > share["raw"]


def test_stability_needs_two_splits():
    with pytest.raises(ValueError, match="1 given, at least 2"):
        stability([object()], 3, "paper")
