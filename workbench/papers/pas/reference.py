"""Predictions of a person that need no model: the rows that every table of PAS has to show (§1)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.data.inventories import Inventory
from workbench.data.keying import reverse
from workbench.data.respondents import Respondents

BEST_CONSTANT = "best constant per subject (oracle)"
MISSCORED = "own trait mean, answered raw, scored on released"
RIDGE = 100.0
"""Penalty on standardised answers."""
_FOLDS = 10
_MIN_PEOPLE = 20


def trait_errors(wrong: np.ndarray, inventory: Inventory, split: str) -> np.ndarray:
    """Mean of `wrong` `[..., item of the split]` per trait, `[..., trait]`; NaN is left out.

    A trait none of whose items is there has no error, NaN.
    """
    trait = inventory.trait_of(inventory.split(split))
    out = np.full((*wrong.shape[:-1], len(inventory.traits)), np.nan)
    for t in range(len(inventory.traits)):
        own = wrong[..., trait == t]
        count = (~np.isnan(own)).sum(-1)
        np.divide(np.nansum(own, -1), count, out=out[..., t], where=count > 0)
    return out


def errors(
    predicted: np.ndarray, respondents: Respondents, masked: bool = True, split: str = "test"
) -> np.ndarray:
    """float `[subject, trait]`: mean |prediction − answer| over the trait's items of a split (§4).

    predicted: float `[subject, item]` in the order of `inventory.split(split)`, 0 or NaN for none;
    of a single subject, any number of predictions `[prediction, item]`. `masked` leaves missing
    answers (and predictions) out; the released code scores a missing answer as a target of 0. A
    trait of which no prediction can be read has the largest error, 4: saying nothing must not look
    perfect. One of which no answer is known has none, NaN. Raises `ValueError` for predictions that
    are not one for each subject and item.
    """
    inventory = respondents.inventory
    answers = respondents.values[:, inventory.split(split)].astype(float)
    predicted = np.asarray(predicted, float)
    rows = len(predicted) if len(answers) == 1 else len(answers)
    if predicted.shape != (rows, answers.shape[1]):
        raise ValueError(f"predictions {predicted.shape} of answers {answers.shape}")
    unknown = np.isnan(predicted) | (predicted == 0)
    wrong = np.where(unknown | (masked & (answers == 0)), np.nan, np.abs(predicted - answers))
    asked = np.where(masked & (answers == 0), np.nan, unknown.astype(float))
    silent = trait_errors(asked, inventory, split) == 1
    return np.where(silent, 4.0, trait_errors(wrong, inventory, split))


def reference_rows(respondents: Respondents, masked: bool = True) -> list[dict[str, Any]]:
    """One row per predictor: `predictor`, an error per trait, `Score` (means over subjects)."""
    rows = []
    for name, predict in PREDICTORS.items():
        predicted = predict(respondents)
        if predicted is not None:
            rows.append(_row(name, errors(predicted, respondents, masked), respondents))
    best = np.min(
        [errors(_constant(v)(respondents), respondents, masked).sum(1) for v in range(1, 6)], 0
    )
    rows.append(
        {
            "predictor": BEST_CONSTANT,
            **dict.fromkeys(respondents.inventory.traits),
            "Score": float(best.mean()),
        }
    )
    return rows


def middle(respondents: Respondents) -> np.ndarray:
    """float `[subject, test item]`: the neutral answer throughout."""
    return _constant(3)(respondents)


def misscored(respondents: Respondents, masked: bool = True) -> dict[str, Any]:
    """The row of somebody who knows every trait mean and answers as a person would, raw, but is
    scored against reverse-scored values, as the released code does (§5, trap 1)."""
    turned = replace(respondents, values=reverse(respondents.values, respondents.inventory))
    raw, keyed = (respondents, turned) if respondents.targets == "raw" else (turned, respondents)
    predicted = own_mean(replace(raw, targets="raw"), "trait")
    error = errors(predicted, replace(keyed, targets="released"), masked)
    return _row(MISSCORED, error, respondents)


def leanings(respondents: Respondents) -> dict[str, np.ndarray]:
    """Per subject: `used` train answers off the middle and missing, `lean` their mean sign (s̄)."""
    train = respondents.values[:, respondents.inventory.split("train")].astype(int)
    sign = np.where(train == 0, 0, np.sign(train - 3))
    used = (sign != 0).sum(1)
    return {"used": used, "lean": sign.sum(1) / np.maximum(used, 1)}


def own_mean(respondents: Respondents, by: str) -> np.ndarray:
    """float `[subject, test item]`: the mean of a subject's own train answers of the same `"trait"`
    or `"facet"`, rounded, turned to each item's sign; the middle where there is none.

    Raw answers are averaged after reverse-scoring; released ones are so already.
    """
    inventory = respondents.inventory
    raw = respondents.targets == "raw"
    keyed = reverse(respondents.values, inventory) if raw else respondents.values
    train, test = inventory.split("train"), inventory.split("test")
    out = np.full((len(respondents), len(test)), 3.0)
    for column, place in enumerate(test):
        own = [p for p in train if _alike(inventory, p, place, by)]
        known = keyed[:, own] > 0
        count = known.sum(1)
        mean = keyed[:, own].sum(1, where=known) / np.maximum(count, 1)
        value = np.rint(np.where(count > 0, mean, 3))
        out[:, column] = 6 - value if raw and inventory.sign[place] < 0 else value
    return out


def _alike(inventory: Inventory, a: int, b: int, by: str) -> bool:
    x, y = inventory.items[a], inventory.items[b]
    return x.trait == y.trait and (by == "trait" or x.facet == y.facet)


def item_mean(respondents: Respondents) -> np.ndarray:
    """float `[subject, test item]`: what people answer on average, rounded.

    Each person's own answers, which this is scored on, are among those averaged, as in the
    published row. Without them: `others_item_mean`.
    """
    answers = respondents.values[:, respondents.inventory.split("test")].astype(float)
    mean = answers.sum(0) / np.maximum((answers > 0).sum(0), 1)
    return np.tile(np.rint(mean), (len(answers), 1))


def others_item_mean(respondents: Respondents) -> np.ndarray | None:
    """float `[subject, test item]`: what all others answer on average, rounded.

    The middle for an item that nobody else has answered. None where there is nobody else.
    """
    if len(respondents) < 2:
        return None
    answers = respondents.values[:, respondents.inventory.split("test")].astype(float)
    total = answers.sum(0) - answers
    count = (answers > 0).sum(0) - (answers > 0)
    return np.rint(np.divide(total, count, out=np.full_like(answers, 3), where=count > 0))


def ridge(respondents: Respondents) -> np.ndarray | None:
    """float `[subject, test item]`: linear regression on the train answers, ten folds over people.

    Real numbers, clipped to 1..5. Missing answers are the item's mean over the people fitted to.
    None for too few people.
    """
    if len(respondents) < _MIN_PEOPLE:
        return None
    inventory = respondents.inventory
    x, y = (respondents.values[:, inventory.split(s)].astype(float) for s in ("train", "test"))
    out = np.empty_like(y)
    fold = np.arange(len(x)) % _FOLDS
    for k in range(_FOLDS):
        seen = fold != k
        parts = []
        for part in (x, y):
            known = part[seen]
            count = (known > 0).sum(0)
            # The middle for an item that nobody seen has answered.
            mean = np.where(count > 0, known.sum(0) / np.maximum(count, 1), 3)
            parts.append((np.where(part > 0, part, mean), mean))
        (a, a_mean), (b, b_mean) = parts
        spread = a[seen].std(0) + 1e-9
        z = (a - a_mean) / spread
        gram = z[seen].T @ z[seen] + RIDGE * np.eye(z.shape[1])
        weight = np.linalg.solve(gram, z[seen].T @ (b[seen] - b_mean))
        out[~seen] = b_mean + z[~seen] @ weight
    return out.clip(1, 5)


def rounded_ridge(respondents: Respondents) -> np.ndarray | None:
    """float `[subject, test item]`: `ridge` rounded to answers, as a person gives them."""
    predicted = ridge(respondents)
    return None if predicted is None else np.rint(predicted)


def _constant(value: int) -> Callable[[Respondents], np.ndarray]:
    return lambda r: np.full((len(r), len(r.inventory.split("test"))), float(value))


PREDICTORS: dict[str, Callable[[Respondents], np.ndarray | None]] = {
    **{f"always ({letter})": _constant(5 - k) for k, letter in enumerate("ABCDE")},
    "own trait mean, rounded": lambda r: own_mean(r, "trait"),
    "own facet mean, rounded": lambda r: own_mean(r, "facet"),
    "item mean over subjects, rounded (sees the scored answers)": item_mean,
    "item mean over other subjects, rounded": others_item_mean,
    "ridge from the train items": ridge,
    "ridge from the train items, rounded": rounded_ridge,
}


def _row(name: str, error: np.ndarray, respondents: Respondents) -> dict[str, Any]:
    means = dict(zip(respondents.inventory.traits, error.mean(0).tolist(), strict=True))
    return {"predictor": name, **means, "Score": float(error.sum(1).mean())}
