"""Formats of the published question sets: parsers of their records, and where their copies are."""

import re
import string
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from workbench.evaluation.numbers import CURRENCY, plain, whole_number
from workbench.files import Row

Parts = tuple[str, str, str, tuple[str, ...]]  # context, question, answer, options
Parser = Callable[[Row], Parts]

# A full stop after a title never ends a sentence, after a unit or the like only before a capital.
_TITLES = "mr mrs ms dr prof st mt lt col gen capt sgt rev rs".split()
_UNITS = "a.m p.m u.s e.g i.e vs etc approx no jr sr inc co ltd oz lb lbs ft in yd km cm mm".split()
_UNITS += "kg hr hrs min sec gal jan feb mar apr aug sep sept oct nov dec".split()
_ORDER = re.compile(r"(?:Find|Calculate|Determine|Compute|Evaluate|Express|Solve|Choose|Take)\b")
_OPENER = re.compile(rf"{_ORDER.pattern}|(?:How|Wh\w+|If|The|In|At|Is|Are|Do|Does|Did|Can)\b")
_MARK = re.compile(r"([.?!]+)([\"'”’)\]]*)\s+")
_ASKS = re.compile(r"\?[\s\"'”’)\]]*$")
_OPTION = re.compile(r"[(\[]?([A-Za-z])\s*[).:\]]\s*(?:\1\)\s*)*(.+)", re.DOTALL)  # also "A)A)59"
_SIGNS = re.compile(rf"^([-+]?){CURRENCY}\s?|\s?(?:%|{CURRENCY})$")


class Dataset(NamedTuple):
    """Description of one set: the parser of its records (`ValueError` says what is wrong), the
    field that names a record, and the public copy: repository, config, the splits that together
    hold the paper's set, and the parser of its rows where they differ."""

    kind: str
    parse: Parser
    id_field: str = ""
    hub: tuple[str, str | None, str] | None = None
    hub_parse: Parser | None = None


def split_question(text: str) -> tuple[str, str]:
    """(context, question): the question is the last sentence, the context all before it.

    Where the last sentence neither asks nor orders ("Note that …"), the question begins at the last
    one that asks. Full stops inside numbers ("$5.20") and after titles and units ("Mr.", "5 ft.
    tall") end no sentence. Only the white space at the seam and the ends is lost.
    """
    text = text.strip()
    starts = [0, *(m.end() for m in _MARK.finditer(text) if _ends_sentence(text, m))]
    start = starts[-1]
    if not _ORDER.match(text, start):
        ends = [*starts[1:], len(text)]
        asking = (a for a, b in zip(starts, ends, strict=True) if _ASKS.search(text[a:b]))
        start = max(asking, default=start)
    return text[:start].rstrip(), text[start:]


def _ends_sentence(text: str, mark: re.Match[str]) -> bool:
    word, following = re.split(r"[^\w.]", text[: mark.start()])[-1], text[mark.end() :]
    if mark[1] != ".":
        return not (mark[2] and following[:1].islower())  # "why?" he asked
    if len(word) == 1 and word.isupper():  # an initial, unless it names a point: "at A. How far"
        return bool(_OPENER.match(following))
    word = word.lower()
    return word not in _TITLES and (word not in _UNITS or following[:1].isupper())


def _get(row: Any, field: str, kind: type = str, read: Callable[[Any], Any] = lambda v: v) -> Any:
    """Read a field that must be there, of its type and not empty; texts are stripped first."""
    if not isinstance(row, dict) or field not in row:
        raise ValueError(f"field {field!r} is missing")
    value = row[field].strip() if isinstance(row[field], str) else row[field]
    if not isinstance(value, kind) or value in ("", [], {}):
        raise ValueError(f"field {field!r} is empty or no {kind.__name__}: {value!r}")
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"field {field!r}: {error}") from error


def _number(value: Any) -> str:
    """A gold number as plain text: no thousands commas, no exponent, no trailing ".0".

    It is one number and nothing else but a currency or a percent, written in any way that replies
    are read in (`numbers.whole_number`).
    """
    number = whole_number(_SIGNS.sub(r"\1", str(value).strip()))
    if number is None:
        raise ValueError(f"no number: {value!r}")
    return plain(number)


def _only_number(solutions: list[Any]) -> str:
    """The gold number of a list that holds one."""
    numbers = list(dict.fromkeys(map(_number, solutions)))
    if len(numbers) > 1:
        raise ValueError(f"{len(numbers)} different solutions, {', '.join(numbers)}, instead of 1")
    return numbers[0]


def _behind_hashes(solution: str) -> str:
    """The gold number of a GSM8K solution."""
    parts = solution.split("####")
    if len(parts) != 2:
        raise ValueError(f"no number behind one '####': {solution[-60:]!r}")
    return _number(parts[1])


def _yes_no(value: str) -> str:
    if (answer := value.rstrip(".").lower()) not in ("yes", "no"):
        raise ValueError(f"neither yes nor no: {value!r}")
    return answer


def _only_true(scores: Row) -> str:
    """The one target scored 1 of a BIG-bench record."""
    right = [target for target, score in scores.items() if score == 1]
    if len(right) != 1:
        raise ValueError(f"{len(right)} true targets instead of 1")
    return right[0].strip()


def _date(scores: Row) -> str:
    return datetime.strptime(_only_true(scores), "%m/%d/%Y").strftime("%m/%d/%Y")


def _free(question: str, gold: str, kind: type, read: Callable[[Any], str]) -> Parser:
    """A parser of records whose answer is written out, in field `gold`."""
    return lambda row: (*split_question(_get(row, question)), _get(row, gold, kind, read), ())


def _svamp(row: Row) -> Parts:
    return _get(row, "Body"), _get(row, "Question"), _get(row, "Answer", object, _number), ()


def _choice(text: str, pairs: Iterable[tuple[str, str]], field: str, gold: str) -> Parts:
    """Labels must be A, B, C… each once, in any order and case; texts may repeat."""
    pairs = sorted((label.strip("()[]. ").upper(), option) for label, option in pairs)
    labels, options = zip(*pairs, strict=True)
    if "".join(labels) != string.ascii_uppercase[: len(labels)]:
        bare = "".join(f"; {o!r} has no label such as 'A)'" for k, o in pairs if k == "?")
        wrong = f"labels {', '.join(labels)}, not A, B, C… each once"
        raise ValueError(f"field {field!r}: {wrong}{bare}")
    letter = gold.strip("()[].: ").upper()
    if letter not in labels:
        raise ValueError(f"field {field!r}: the gold {gold!r} is none of {', '.join(labels)}")
    return *split_question(text), letter, options


def _aqua(row: Row) -> Parts:
    options = [str(option).strip() for option in _get(row, "options", list)]
    matches = [(_OPTION.fullmatch(option), option) for option in options]
    pairs = [(m[1], m[2]) if m else ("?", option) for m, option in matches]
    return _choice(_get(row, "question"), pairs, "options", _get(row, "correct"))


def _commonsense(row: Row) -> Parts:
    """Published: question is an object with stem and choices; hub: choices are two columns."""
    asked = row["question"] if isinstance(_get(row, "question", object), dict) else row
    if isinstance(_get(asked, "choices", object), dict):
        pairs = zip(*(_get(asked["choices"], c, list) for c in ("label", "text")), strict=True)
    else:
        pairs = [(_get(c, "label"), _get(c, "text")) for c in _get(asked, "choices", list)]
    stem = _get(row, "question") if asked is row else _get(asked, "stem")
    return _choice(stem, pairs, "choices", _get(row, "answerKey"))


def _tracking(row: Row) -> Parts:
    """The input breaks off ("…, Alice has the"): that sentence is the question."""
    right = _get(row, "target_scores", dict, _only_true)
    options = tuple(target.strip() for target in row["target_scores"])
    if len(set(options)) < len(options) or len(options) > len(string.ascii_uppercase):
        raise ValueError(
            f"field 'target_scores': {len(options)} targets, not up to 26 different ones"
        )
    letter = string.ascii_uppercase[options.index(right)]
    return *split_question(_get(row, "input")), letter, options


_hashes = _free("question", "answer", str, _behind_hashes)
_equation = _free("sQuestion", "lSolutions", list, _only_number)
_final = _free("question", "final_ans", object, _number)
_targets = _free("input", "target_scores", dict, lambda scores: _yes_no(_only_true(scores)))
_boolean = _free("question", "answer", bool, lambda answer: "yes" if answer else "no")
_words = _free("question", "answer", str, str)
DATASETS: dict[str, Dataset] = {
    "sums": Dataset("number", _free("question", "answer", str, _number), "id"),
    "gsm8k": Dataset("number", _hashes, hub=("openai/gsm8k", "main", "test")),
    "svamp": Dataset("number", _svamp, "ID", ("ChilleD/SVAMP", None, "train+test")),
    "aqua": Dataset("choice", _aqua, hub=("deepmind/aqua_rat", "raw", "test")),
    "addsub": Dataset("number", _equation, "iIndex"),
    "singleeq": Dataset("number", _equation, "iIndex"),
    "multiarith": Dataset(
        "number", _equation, "iIndex", ("ChilleD/MultiArith", None, "train+test"), _final
    ),
    "commonsensqa": Dataset(
        "choice", _commonsense, "id", ("tau/commonsense_qa", None, "validation")
    ),
    # BIG-bench's hub copies word the tasks anew and pool their sizes; the coin's are other draws.
    "bigbench_date": Dataset("date", _free("input", "target_scores", dict, _date)),
    "strategyqa": Dataset(
        "yesno", _targets, "qid", ("ChilleD/StrategyQA", None, "train+test"), _boolean
    ),
    "coin_flip": Dataset("yesno", _free("question", "answer", str, _yes_no)),
    "last_letters": Dataset("text", _words, "", ("ChilleD/LastLetterConcat", None, "train+test")),
    "object_tracking": Dataset("choice", _tracking),
}
