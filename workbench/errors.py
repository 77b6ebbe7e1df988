"""Errors by name. Every message says what is wrong and what to do."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class WorkbenchError(Exception):
    """Base of all errors the workbench raises on purpose."""


class ModelError(WorkbenchError):
    """A model cannot be reached, lacks a part, or has an unknown anatomy."""


class DatasetError(WorkbenchError):
    """A dataset row is unusable; the message carries the row number."""


class ItemKeyError(DatasetError):
    """A questionnaire's key is unusable; the rows are named."""


class DirectionError(WorkbenchError):
    """A direction is malformed or does not fit the model; both sizes are named."""


class UnsafeFileError(WorkbenchError):
    """A file asks for more than data; nothing of it was executed."""


class FoldError(WorkbenchError):
    """A shift cannot be written exactly into this model's weights."""


class SteeringError(WorkbenchError):
    """A model cannot be steered as asked where it runs; the message says why and what to do."""


class WriteError(WorkbenchError, OSError):
    """A file or folder cannot be written: the disk is full or read-only, or something in the way.

    What was there before is as it was, and nothing half written is left.
    """


class RunError(WorkbenchError):
    """A run cannot start (unknown paper, preset, parameter, unusable folder) or was cut off."""


class ShardError(WorkbenchError):
    """Activations on disk are damaged, unfinished, of something else, or cannot be written."""


class GenerationError(WorkbenchError):
    """Sampling stopped: logits not finite, a server that fails, a replay without the sample."""


class ContextLengthError(GenerationError, DatasetError):
    """A prompt and the tokens asked for do not fit into the model's context.

    `prompt_tokens`, `limit` (tokens) and `request`, the offending one's place in the list.
    """

    def __init__(self, message: str, prompt_tokens: int, limit: int, request: int) -> None:
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.limit = limit
        self.request = request


class StoreError(WorkbenchError):
    """A file of stored samples is of another schema, damaged, or cannot be written."""


class FeatureError(WorkbenchError, ValueError):
    """An SAE cannot be read or does not fit the model; both sizes or the known names are given."""


class GraphError(DatasetError, ValueError):
    """A graph of evidence is none: its edges leave its facts, go in a circle, or are cut off."""


class PairError(DatasetError, ValueError):
    """Preference pairs are unusable; columns or row numbers are named."""


class CacheMismatch(WorkbenchError):  # noqa: N818 - named by what it finds
    """A reference cache belongs to something else; the differing fields are named."""


class CacheCorrupt(WorkbenchError):  # noqa: N818 - named by what it finds
    """A reference cache is damaged; path and row are named."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean 'x'?`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class ProgramInputError(WorkbenchError, ValueError):
    """An input is none of a compiled program's: a symbol it does not read, too long, malformed."""


class AmbiguousAggregateError(WorkbenchError):
    """A program copies from positions that differ; node and position are named."""


class CompileBudgetError(WorkbenchError):
    """A program cannot be compiled at a window; the node and its size are named."""


class UncertifiedDtypeError(WorkbenchError):
    """A compiled network is not known to be exact in a dtype, or for so long an input."""


class ProgramTextError(WorkbenchError, ValueError):
    """A text is no program of the language of compiled networks; the line is named."""


class NoProgramFound(WorkbenchError):  # noqa: N818 - named by what it finds
    """None of a model's programs is right. `candidates`: all of them, each with its reason."""

    def __init__(self, message: str, candidates: Sequence[Any]) -> None:
        super().__init__(message)
        self.candidates = candidates


class ProgramError(WorkbenchError, ValueError):
    """A program over a knowledge base has no answer; step and reason are named.

    `reason`: its kind in a few words, to count by. `step`: its place, where there is one.
    """

    def __init__(self, reason: str, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.step = step
