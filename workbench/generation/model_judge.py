"""A language model as a judge of replies: its scores beside its own noise, and how many it gave.

It has a model's taste, for length, for its own style, for the reply shown first, and is no expert:
what it says is worth as much as its `Scores.agreement` with people on the same replies.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.arguments import finite, listed, of_prompts, one_of, shown, whole
from workbench.errors import GenerationError
from workbench.evaluation.agreement import krippendorff_alpha, spearman
from workbench.evaluation.intervals import AMOUNT, SHARE, Limits, Units, bootstrap, coded
from workbench.evaluation.metrics import measured, metric
from workbench.evaluation.replies import spoken
from workbench.evaluation.rubric import Rubric, read_rubric
from workbench.generation.complete import Completer, backend, complete
from workbench.generation.requests import GenRequest, prompt_text
from workbench.generation.sample_store import SampleStore
from workbench.models.prompts import Prompt, as_messages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """What a model judge says of items, by criterion: float64 `[item, repeat]`, NaN if unread.

    `label`: what goes before whatever is shown of it, "model judge" and its name. `limits`: the
    ends of the scale.
    """

    label: str
    values: dict[str, np.ndarray]
    limits: Limits

    def means(self, criterion: str) -> list[float | None]:
        """Each item's score, the mean of its repeats; None for one without any."""
        values = self.values[one_of("criterion", criterion, [*self.values])]
        return np.ma.masked_invalid(values).mean(1).tolist()

    def rows(self, units: Units = "items") -> list[dict[str, Any]]:
        """Metrics: each criterion's mean over items with a score, its noise beside it; coverage.

        Noise: the standard deviation of one item's score when judged again, from the mean variance.
        `units` as of `metrics.measured`, with an id for every item.
        """
        rows, codes = [], coded(units, len(next(iter(self.values.values()))))

        def add(what: str, of_items: np.ma.MaskedArray, limits: Limits, how: Callable) -> None:
            at = np.flatnonzero(~np.ma.getmaskarray(of_items))
            ids = {unit: of_all[at] for unit, of_all in codes.items()}
            name, values = f"{self.label}: {what}", of_items.data[at]
            if len(values):
                rows.append(measured(name, values, ids, statistic=how, limits=limits))

        for criterion, values in self.values.items():
            read = np.ma.masked_invalid(values)
            add(criterion, read.mean(1), self.limits, np.mean)
            add(f"{criterion}, noise", read.var(1, ddof=1), AMOUNT, lambda of: of.mean() ** 0.5)
        add("coverage", np.ma.array(np.isfinite(values).mean(1)), SHARE, np.mean)
        return rows

    def agreement(
        self, criterion: str, ratings: Sequence[float], items: Sequence[int], raters: Sequence
    ) -> list[dict[str, Any]]:
        """Metrics of people's ratings (three columns) of the items judged, beside the judge's.

        Krippendorff's ordinal alpha of the people, then with the judge as another rater; Spearman's
        correlation of its score with their mean rating. One that is undefined is left out. `items`:
        places in what was judged. Raises `ValueError` for ratings off the scale, items that were
        not judged, and as `krippendorff_alpha`: for one rater, say.
        """
        name, means = f"{self.label}: {criterion}", self.means(criterion)
        ratings = [finite("rating", r, *self.limits) for r in listed("ratings", ratings)]
        items = [whole("item", i, 0, len(means) - 1) for i in listed("items", items)]
        people = krippendorff_alpha(
            f"people: {criterion}, alpha", ratings, items, raters, "ordinal"
        )
        rated = [i for i in sorted({*items}) if means[i] is not None]
        # Rounding makes no order between equal means.
        ours = np.round([means[i] for i in rated], 9)
        theirs = np.round(np.bincount(items, ratings)[rated] / np.bincount(items)[rated], 9)
        joint = [*ratings, *ours], [*items, *rated], [*raters, *[self.label] * len(rated)]
        rows = [people, krippendorff_alpha(f"{name}, alpha with people", *joint, "ordinal")]
        if rated and (rho := spearman(ours, theirs)) is not None:
            alike = np.unique(ours + 1j * theirs, return_inverse=True)[1]
            _, bounds, _ = bootstrap(
                lambda left: spearman(ours[left], theirs[left]),
                np.arange(len(rated)), (-1.0, 1.0), alike=alike,
            )  # fmt: skip
            label = f"{name}, Spearman's rho with people"
            rows.append(metric(label, rho, len(rated), bounds, unit=bounds and "items"))
        return [row for row in rows if row is not None]


def judge_replies(
    judge: Completer,
    rubric: Rubric | str | Path,
    prompts: Sequence[Prompt],
    replies: Sequence[str],
    others: Sequence[str] | None = None,
    *,
    repeats: int = 2,
    temperature: float = 0.7,
    max_new_tokens: int = 256,
    seed: int = 0,
    name: str = "",
    store: SampleStore | str | Path | None = None,
    mode: str = "auto",
) -> Scores:
    """Scores of each reply to its prompt, by a rubric: a YAML file, or "helpfulness", which ships.

    With `others`: preference for each reply over the other, 0 to 1, the mean of both orders; beside
    it that for the one shown first, 0.5 where position counts nothing. A pair read in one order
    only has none. Each is judged `repeats` times, at `temperature` 0 once; where the judge's noise
    is not measured, its label says so. An answer of another form, or cut off at `max_new_tokens`,
    is unread; what a reply's writer thought is not judged. `name`: of the judge in tables, if not
    its own. Answers have the stage "judge" in the `store`.

    Raises, before any drawing, `DatasetError` for a rubric or prompt that cannot be used,
    `ValueError` for replies that are no texts or not one a prompt; as `complete`;
    `GenerationError` for a judge that never answers in the form asked for.

    >>> scores = wb.judge_replies("http://host:8000/v1", "helpfulness", prompts, replies)
    >>> scores.rows(), scores.means("correctness")
    """
    rubric, pair = read_rubric(rubric), others is not None
    texts = [_request(*placed) for placed in enumerate(listed("prompts", prompts))]
    sides = [_texts("replies", replies, len(texts))]
    sides += [_texts("others", others, len(texts))] if pair else []
    orders = [sides, sides[::-1]][: len(sides)]
    asked = [rubric.ask(*of) for order in orders for of in zip(texts, *order, strict=True)]
    draws = whole("repeats", repeats, 1) if temperature else 1
    settings = GenRequest("", draws, max_new_tokens, temperature, seed=seed, stage="judge")
    source = backend(judge)
    label = f"model judge {name or source.name}"
    requests = [replace(settings, prompt=[{"role": "user", "content": text}]) for text in asked]
    results = complete(source, requests, store=store, mode=mode)
    samples = [sample for result in results for sample in result.samples]
    answers = [None if s.finish_reason == "length" else rubric.read(s.text, pair) for s in samples]
    if (unread := answers.count(None)) == len(answers):
        cut = sum(sample.finish_reason == "length" for sample in samples)
        raise GenerationError(
            f"{label}: none of its {unread} answers is {rubric.form(pair)} and nothing else ({cut} "
            f"were cut off at max_new_tokens={max_new_tokens}); a store keeps them. The first: "
            f"{samples[0].text!r:.300}"
        )
    scores = {}
    for criterion in rubric.criteria:
        given = [np.nan if answer is None else answer[criterion] for answer in answers]
        values = np.reshape(given, (len(sides), len(texts), draws))
        if pair:
            scores[f"{criterion}, preferred"] = (values[0] + 1 - values[1]) / 2
            scores[f"{criterion}, shown first"] = (values[0] + values[1]) / 2
        else:
            scores[criterion] = values[0]
    unscored = int(np.isnan(next(iter(scores.values()))).all(1).sum())
    if unread:
        log.warning("%s: %d of %d answers could not be read; %d of %d items have no score",
                    label, unread, len(answers), unscored, len(texts))  # fmt: skip
    if unscored == len(texts):
        raise GenerationError(f"{label}: no pair has answers in both orders that could be read")
    if not (np.isfinite(values).sum(2) > 1).any():
        label += ", noise not measured"
    return Scores(label, scores, SHARE if pair else (min(rubric.scale), max(rubric.scale)))


def _request(place: int, prompt: Prompt) -> str:
    """A prompt as text: of a chat of one message its content, of a longer one its JSON."""
    chat = [] if isinstance(prompt, str) else as_messages(place, prompt)
    return chat[0]["content"] if len(chat) == 1 else prompt_text(prompt)


def _texts(name: str, replies: Sequence[str], count: int) -> list[str]:
    """What the replies say, their thoughts left off."""
    texts = of_prompts(name, replies, count)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{place}]={shown(text)}: it must be a text")
    return [spoken(text) for text in texts]
