"""read_problems(): the question sets of Self-Verification in one shape: context, question, gold.

Files are read as they were published, hub sets through `datasets`. None of these is shipped (the
BIG-bench ones carry a canary, others have no stated licence); the embedded sums are our own.
"""

import difflib
import logging
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.data.fields import as_name
from workbench.data.problem_formats import DATASETS, Dataset, Parser
from workbench.errors import DatasetError
from workbench.files import Row, rows_or_errors
from workbench.hub import hub_rows
from workbench.paths import data_folder, small_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer; `context + " " + question` is the published wording.

    answer: a number without thousands commas ("2125"), a letter "A".., a date "MM/DD/YYYY", "yes"
    or "no", or the text itself, as `kind` ("number", "choice", "date", "yesno", "text") says.
    options: their texts without labels, in label order; empty unless kind is "choice".
    """

    id: str
    dataset: str
    context: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    kind: str = "number"

    @property
    def labels(self) -> tuple[str, ...]:
        """The options' letters, `("A", "B", …)`."""
        return tuple(string.ascii_uppercase[: len(self.options)])

    @property
    def text(self) -> str:
        """All that a solver is shown; options come last, as `Answer choices: (A) … (B) …`."""
        choices = [f"({k}) {v}" for k, v in zip(self.labels, self.options, strict=True)]
        parts = [self.context, self.question, "Answer choices:" if choices else "", *choices]
        return " ".join(p for p in parts if p)


def read_problems(
    name: str, source: str | Path = "auto", split: str = "test", *, skip_bad: bool = False
) -> list[Problem]:
    """The problems of one of `DATASETS`, in their published order.

    source: `"auto"` (the embedded sums; every other set from the hub), `"hub"`, `"small"` (40
    problems of ours, read as `svamp`), or a local file as published, in any form that
    `files.read_rows` takes. split concerns the hub only: `"test"` is
    the set that the paper scores, anything else a split of that repository. skip_bad leaves
    unreadable records out and logs how many. A record without an id is called by its place, from 0;
    one with the id of another problem by both.

    Raises `ValueError` for an unknown name, `FileNotFoundError` for a missing file, `DatasetError`
    for a bad line (`file:line: reason`), for a bad record (its row, id and field), for a set that
    cannot be fetched or has no public copy, and where no problem is left.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0)[0]
        raise ValueError(f"no dataset {name!r} (nearest: {near!r}); known: {', '.join(DATASETS)}")
    if str(source) == "auto":
        source = data_folder() / "sums.jsonl" if name == "sums" else "hub"
    if str(source) == "small":
        if name != "svamp":
            raise DatasetError(f"no small problems for {name!r}; they are in the form of 'svamp'")
        source = small_folder() / "problems.jsonl"
    dataset, hub = DATASETS[name], str(source) == "hub"
    rows = _published(name, dataset, split) if hub else rows_or_errors(source)
    parse = dataset.hub_parse if hub and dataset.hub_parse else dataset.parse
    problems, errors = [], []
    for number, row in enumerate(rows):
        try:
            problems.append(_problem(row, number, name, parse, str(source)))
        except DatasetError as error:
            if not skip_bad:
                raise
            errors.append(error)
    if errors:
        log.warning("%s: %d bad records skipped; the first: %s", source, len(errors), errors[0])
    if not problems:
        raise DatasetError(f"{source}: no problems for {name!r}")
    return _told_apart(problems)


def _told_apart(problems: Sequence[Problem]) -> list[Problem]:
    """The problems, no two different ones of the same id."""
    first: dict[str, Problem] = {}
    return [
        problem if first.setdefault(problem.id, problem) == problem
        else replace(problem, id=f"{problem.id} at {place}")
        for place, problem in enumerate(problems)
    ]  # fmt: skip


def _problem(
    row: Row | DatasetError, number: int, name: str, parse: Parser, source: str
) -> Problem:
    if isinstance(row, DatasetError):
        raise row
    row_id = as_name(row.get(DATASETS[name].id_field)) or str(number)
    try:
        return Problem(row_id, name, *parse(row), DATASETS[name].kind)
    except ValueError as error:
        raise DatasetError(f"{source} row {number}: {name} {row_id}: {error}") from error


def _published(name: str, dataset: Dataset, split: str) -> Iterable[Row]:
    """Rows of the set's public copy."""
    if dataset.hub is None:
        raise DatasetError(
            f"{name!r} has no well-known hub copy of the published set: give the original file as "
            "source (the paper's repository WENGSYX/Self-Verification has it under dataset/)"
        )
    repository, config, scored = dataset.hub
    return hub_rows(repository, scored if split == "test" else split, config)
