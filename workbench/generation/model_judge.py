"""A language model as a judge of replies: its scores beside its own noise, and how many it gave.

It has a model's taste, for length, for its own style, for the reply shown first, and is no expert:
what it says is worth as much as its `Scores.agreement` with people on the same replies.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.arguments import finite, listed, one_of, shown, whole
from workbench.errors import GenerationError
from workbench.evaluation.agreement import krippendorff_alpha, spearman
from workbench.evaluation.intervals import AMOUNT, SHARE, Limits, Units, bootstrap, layout
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
    """What a model judge says of items, by criterion: float64 `[item, repeat]`, masked if unread.

    `label`: what goes before whatever is shown of it, "model judge" and its name. `limits`: the
    ends of the scale.
    """

    label: str
    values: dict[str, np.ma.MaskedArray]
    limits: Limits

    @property
    def coverage(self) -> float:
        """Share of the answers that had the form asked for (of pairs, in both orders)."""
        values = next(iter(self.values.values()))
        return values.count() / values.size

    @property
    def left_out(self) -> int:
        """Items without any such answer, and so without a score."""
        return self.means(next(iter(self.values))).count(None)

    def means(self, criterion: str) -> list[float | None]:
        """Each item's score, the mean of its repeats; None for those left out."""
        return self._of(criterion).mean(1).tolist()

    def noise(self, criterion: str) -> float | None:
        """Standard deviation of one item's score when judged again, from the mean variance.

        None where no item was judged twice.
        """
        variances = self._of(criterion).var(1, ddof=1)
        return _root_mean(variances.compressed()) if variances.count() else None

    def rows(self, units: Units = "items") -> list[dict[str, Any]]:
        """Metrics: each criterion's mean over items with a score, its noise beside it; coverage.

        `units` as of `metrics.measured`, with an id for every item.
        """
        rows = []
        for criterion, values in self.values.items():
            name, variances = f"{self.label}: {criterion}", values.var(1, ddof=1)
            rows.append(_row(name, values.mean(1), units, self.limits))
            if variances.count():
                rows.append(_row(f"{name}, noise", variances, units, AMOUNT, _root_mean))
        read = np.ma.array(1 - np.ma.getmaskarray(values).mean(1))
        return [*rows, _row(f"{self.label}: coverage", read, units, SHARE)]

    def agreement(
        self,
        criterion: str,
        ratings: Sequence[float],
        items: Sequence[int],
        raters: Sequence[Hashable],
    ) -> list[dict[str, Any]]:
        """Metrics of people's ratings (three columns) of the items judged, beside the judge's.

        Krippendorff's ordinal alpha of the people alone, then with the judge's score as one more
        rater's; Spearman's correlation of that with their mean rating. One that is undefined is
        left out. `items`: places in what was judged. Raises `ValueError` for ratings off the scale,
        items that were not judged, and as `krippendorff_alpha`: for one rater, say.
        """
        name, scores = f"{self.label}: {criterion}", self.means(criterion)
        ratings = [finite("rating", r, *self.limits) for r in listed("ratings", ratings)]
        items = [whole("item", i, 0, len(scores) - 1) for i in listed("items", items)]
        layout({"items": items, "raters": raters}, len(ratings))
        both = [i for i in sorted({*items}) if scores[i] is not None]
        ours = np.array([scores[i] for i in both])
        theirs = [[r for r, at in zip(ratings, items, strict=True) if at == i] for i in both]
        means = np.array([np.mean(of) for of in theirs])
        people = ratings, items, [*raters]
        joint = [*ratings, *ours], [*items, *both], [*raters, *[self.label] * len(both)]
        alphas = {f"people: {criterion}, alpha": people, f"{name}, alpha with people": joint}
        rows = [krippendorff_alpha(which, *of, "ordinal") for which, of in alphas.items()]
        if both and (rho := spearman(ours, means)) is not None:
            _, bounds, _ = bootstrap(
                lambda left: spearman(ours[left], means[left]), np.arange(len(both)), (-1.0, 1.0)
            )
            label = f"{name}, Spearman's rho with people"
            rows.append(metric(label, rho, len(both), bounds, unit=bounds and "items"))
        return [row for row in rows if row is not None]

    def _of(self, criterion: str) -> np.ma.MaskedArray:
        return self.values[one_of("criterion", criterion, [*self.values])]


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
    only has none. Each is judged `repeats` times; at `temperature` 0 once, and then the judge's
    noise is not measured, which its label says. An answer other than the JSON object asked for, or
    cut off at `max_new_tokens`, counts as unread; what a reply's writer thought is not judged.
    `name`: of the judge in tables, if not its own. Answers have the stage "judge" in the `store`.

    Raises, before any drawing, `DatasetError` for a rubric or prompt that cannot be used,
    `ValueError` for replies that are no texts or not one a prompt; as `complete`;
    `GenerationError` for a judge that never answers in the form asked for.

    >>> scores = wb.judge_replies("http://host:8000/v1", "helpfulness", prompts, replies)
    >>> scores.rows(), scores.means("correctness"), scores.noise("correctness")
    """
    rubric, pair = read_rubric(rubric), others is not None
    texts = [_request(*placed) for placed in enumerate(listed("prompts", prompts))]
    sides = [_texts("replies", replies, len(texts))]
    sides += [_texts("others", others, len(texts))] if pair else []
    asked = [rubric.prompt(*of) for of in zip(texts, *sides, strict=True)]
    asked += [rubric.prompt(*of) for of in zip(texts, *sides[::-1], strict=True)] if pair else []
    repeats = whole("repeats", repeats, 1)
    settings = GenRequest("", repeats, max_new_tokens, temperature, seed=seed, stage="judge")
    settings = replace(settings, n=settings.draws)
    source = backend(judge)
    label = f"model judge {name or source.name}"
    label += ", noise not measured" if settings.n == 1 else ""
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
        values = np.ma.masked_invalid(given).reshape(len(sides), len(texts), settings.n)
        if pair:
            scores[f"{criterion}, preferred"] = (values[0] + 1 - values[1]) / 2
            scores[f"{criterion}, shown first"] = (values[0] + values[1]) / 2
        else:
            scores[criterion] = values[0]
    limits = SHARE if pair else (float(rubric.scale[0]), float(rubric.scale[-1]))
    judged = Scores(label, scores, limits)
    if unread:
        log.warning(
            "%s: %d of %d answers could not be read; %d of %d items have no score",
            label, unread, len(answers), judged.left_out, len(texts),
        )  # fmt: skip
    if judged.left_out == len(texts):
        raise GenerationError(f"{label}: no pair has answers in both orders that could be read")
    return judged


def _request(place: int, prompt: Prompt) -> str:
    """A prompt as text: of a chat of one message its content, of a longer one its JSON."""
    chat = [] if isinstance(prompt, str) else as_messages(place, prompt)
    return chat[0]["content"] if len(chat) == 1 else prompt_text(prompt)


def _texts(name: str, replies: Sequence[str], count: int) -> list[str]:
    """What the replies say, their thoughts left off."""
    texts = listed(name, replies)
    if len(texts) != count:
        raise ValueError(f"{len(texts)} {name} for {count} prompts")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{place}]={shown(text)}: it must be a text")
    return [spoken(text) for text in texts]


def _row(
    name: str,
    values: np.ma.MaskedArray,
    units: Units,
    limits: Limits,
    statistic: Callable[[np.ndarray], float] = np.mean,
) -> dict[str, Any]:
    """A metric over the items that have a value; `units` have an id for each of them all."""
    layout(units, len(values))
    at = np.flatnonzero(~np.ma.getmaskarray(values))
    ids = units if isinstance(units, str) else {u: [of[i] for i in at] for u, of in units.items()}
    return measured(name, values.data[at], ids, statistic=statistic, limits=limits)


def _root_mean(values: np.ndarray) -> float:
    return float(np.mean(values)) ** 0.5
