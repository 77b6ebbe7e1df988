"""read_problems(): the question sets of Self-Verification in one shape: context, question, gold.

Files are read as they were published, hub sets through `datasets`. None of these is shipped (the
BIG-bench ones carry a canary, others have no stated licence); the embedded sums are our own.
"""

import difflib
import json
import logging
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.data.problem_formats import DATASETS, Dataset, Row
from workbench.errors import DatasetError
from workbench.paths import data_folder

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

    source: `"auto"` (the embedded sums; every other set from the hub), `"hub"`, or a local file as
    published: JSON lines, a JSON list, or an object with `examples` (told apart by content). split
    concerns the hub only: `"test"` is the set that the paper scores, anything else a split of that
    repository. skip_bad leaves unreadable records out and logs how many. A record without an id of
    its own is called by its place, from 0.

    Raises `ValueError` for an unknown name, `FileNotFoundError` for a missing file, `DatasetError`
    for a bad line (`file:line: reason`), for a bad record (its id and the field), for a set that
    cannot be fetched or has no public copy, and where no problem is left.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0)[0]
        raise ValueError(f"no dataset {name!r} (nearest: {near!r}); known: {', '.join(DATASETS)}")
    if str(source) == "auto":
        source = data_folder() / "sums.jsonl" if name == "sums" else "hub"
    dataset, hub = DATASETS[name], str(source) == "hub"
    records = _hub_rows(name, dataset, split) if hub else _file_records(Path(source))
    parse = dataset.hub_parse if hub and dataset.hub_parse else dataset.parse
    problems, bad = [], []
    for number, record in enumerate(records):
        called = record.get(dataset.id_field, number) if isinstance(record, dict) else number
        try:
            problems.append(Problem(str(called), name, *parse(record), dataset.kind))
        except ValueError as error:
            unread = isinstance(record, DatasetError)  # a line that was no JSON says so itself
            bad.append(record if unread else DatasetError(f"{source}: {name} {called}: {error}"))
            if not skip_bad:
                raise bad[0] from error
    if bad:
        log.warning("%s: %d bad records skipped; the first: %s", source, len(bad), bad[0])
    if not problems:
        raise DatasetError(f"{source}: no problems for {name!r}")
    return problems


def _file_records(path: Path) -> list[Any]:
    """Records of a local file; a bad line of JSON lines stands as the error it would raise."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give the published file, or source='hub'")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text: {error}") from error
    content = _json(text, path)
    if isinstance(content, DatasetError):
        # Not splitlines(): JSON strings may hold U+2028 and its like, which are no line ends here.
        lines = [_json(line, path, i) for i, line in enumerate(text.split("\n")) if line.strip()]
        if 2 * sum(isinstance(line, dict) for line in lines) >= len(lines) > 1:
            return lines  # mostly objects: JSON lines; else a list or object that is broken
        raise content
    records = content.get("examples", [content]) if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise DatasetError(f"{path}: expected a list of records, or an object with 'examples'")
    return records


def _json(text: str, path: Path, lines_before: int = 0) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return DatasetError(f"{path}:{lines_before + error.lineno}: {error.msg}")


def _hub_rows(name: str, dataset: Dataset, split: str) -> Iterable[Row]:
    if dataset.hub is None:
        raise DatasetError(
            f"{name!r} has no well-known hub copy of the published set: give the original file as "
            "source (the paper's repository WENGSYX/Self-Verification has it under dataset/)"
        )
    from datasets import load_dataset

    repository, config, scored = dataset.hub
    try:
        return load_dataset(repository, config, split=scored if split == "test" else split)
    except (OSError, ValueError) as error:  # unreachable or gated; an unknown split or config
        raise DatasetError(
            f"{repository} cannot be read from the hub: check the split and the network, set "
            f"HF_TOKEN, or give the original file as source. ({str(error).partition(chr(10))[0]})"
        ) from error
