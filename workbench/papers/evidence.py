"""What papers on evidence share: files and models of the user's own, checked before long work."""

from pathlib import Path

from workbench import hub
from workbench.arguments import finite
from workbench.errors import DatasetError, ModelError
from workbench.files import read_rows
from workbench.papers import parameters

MODELS = {"tiny": "lex", "small": "minilm", "paper": "google-bert/bert-base-uncased"}
"""Preset → its sentence encoder; at tiny hashed words, whatever is at hand."""
READER = "google-t5/t5-base"
"""The encoder–decoder model that answers at paper (§4)."""
SERVERS = ("http://", "https://")
SPLITS = ("train", "dev", "test")
Reference = dict[tuple[str, str, str], float]
"""(table, row, column) → a published value."""
_COLUMNS = ("table", "row", "column", "value")


def reference(path: str = "") -> Reference:
    """(table, row, column) → a published value, of a file of the user's own; empty without one.

    Tables are T2 to T5, rows and columns those of `tables`. Raises `ValueError` for no file,
    `DatasetError` for a row without these fields, or a value that is no finite number.
    """
    parameters.check_file("tables_path", path)
    values: Reference = {}
    for number, row in enumerate(read_rows(path) if path else []):
        try:
            table, line, column, value = (row[name] for name in _COLUMNS)
            values[str(table), str(line), str(column)] = finite("value", float(value))
        except (LookupError, TypeError, ValueError) as error:
            raise DatasetError(
                f"tables_path={path!r:.80} row {number}: {error}; give {', '.join(_COLUMNS)}"
            ) from None
    return values


def split_files(folder: str) -> dict[str, Path]:
    """Split → its file in a folder of questions: train, dev (or valid), test, .json or .jsonl.

    Raises `ValueError` for one that has them not.
    """
    files = {}
    for split in SPLITS:
        stems = ("dev", "valid") if split == "dev" else (split,)
        names = [stem + end for stem in stems for end in (".jsonl", ".json")]
        there = [path for name in names if (path := Path(folder, name)).is_file()]
        if not there:
            raise ValueError(f"data_path={folder!r:.80}: no file {' or '.join(names)}")
        files[split] = there[0]
    return files


def check_encoder(preset: str, model_id: str, needs: str) -> None:
    """Raise `ModelError` for a sentence encoder that is missing, unreachable or none.

    `needs`: what the paper's preset takes, told where its own encoder is not at hand.
    """
    name = model_id or MODELS[preset]
    if preset == "paper" and name == "lex":
        raise ModelError("model_id='lex' is no network that could be tuned along; leave it empty")
    with parameters.naming("model_id", model_id):
        try:
            if name != "lex":
                hub.require_model(name)
        except ModelError as error:
            if preset != "paper" or model_id:
                raise
            raise ModelError(f"{error} {needs}") from None


def check_reader(preset: str, seq2seq_id: str = "") -> str:
    """The name of the T5 that is trained to answer; empty for the small one with random weights.

    Raises `ModelError` for one that is missing, or of another kind.
    """
    name = seq2seq_id or (READER if preset == "paper" else "")
    with parameters.naming("seq2seq_id", name):
        if name and not hub.require_model(name).get("is_encoder_decoder", True):
            raise ModelError(f"it is no encoder–decoder model; give {READER}, or one of its kind")
    return name


def check_completer(reader_id: str = "", served_model: str = "") -> None:
    """Raise `ModelError` for a language model that is missing or none, `ValueError` for a server's
    model where there is no server.
    """
    if served_model and not reader_id.startswith(SERVERS):
        raise ValueError(f"served_model={served_model!r} goes unheeded: reader_id is no server's")
    with parameters.naming("reader_id", reader_id):
        if reader_id and not reader_id.startswith(SERVERS):
            hub.require_model(reader_id)
