"""Rubrics: what a reply is judged by, how a judge is asked, and how its answer is read."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from workbench.arguments import finite, one_of, shown
from workbench.errors import DatasetError, WorkbenchError
from workbench.evaluation.replies import spoken
from workbench.hashing import digest
from workbench.reading import parse_json, read_yaml

PREFERENCES = {"first": 1.0, "equal": 0.5, "second": 0.0}
"""What a judge may say of a pair → preference for the one shown first."""
_KEYS = {"name": (str, 80), "scale": (list, 20), "criteria": (dict, 20),
         "reply": (str, 10_000), "pair": (str, 10_000)}  # fmt: skip
"""Key of a file → the kind of its value, and its largest length."""
_PLACES = {"reply": ("criteria", "request", "reply", "form", "code"),
           "pair": ("criteria", "request", "first", "second", "form", "code")}  # fmt: skip
_PLACE = re.compile(r"\{(\w+)\}")
# Marks that chat models read as the end of a turn or a thought, or the beginning of one.
_TURN = re.compile(
    r"([<\[])(?=[|｜][^<>\s]{1,40}>|[^<>\s]{1,40}[|｜]>|/?(?:s|INST|SYS)[>\]]"
    r"|(?:(?:start|end)_of_turn|[be]os|/?think(?:ing)?)>)"
)


@dataclass(frozen=True)
class Rubric:
    """Criteria (name → what a judge is told), the numbers it may give for each, and the prompts.

    `read_rubric` makes one. The prompts, for one `reply` and for a `pair`, name the places of what
    is put into them: `{criteria}`, `{form}` (the answer wanted), `{code}`, `{request}`, and
    `{reply}`, or `{first}` and `{second}`.
    """

    name: str
    scale: tuple[float, ...]
    criteria: dict[str, str]
    reply: str
    pair: str

    def form(self, pair: bool = False) -> str:
        """The answer wanted, with all that may stand in it."""
        choice = " | ".join(map(json.dumps, PREFERENCES if pair else self.scale))
        names = (json.dumps(name, ensure_ascii=False) for name in self.criteria)
        return f"{{{', '.join(f'{name}: {choice}' for name in names)}}}"

    def prompt(self, request: str, *replies: str) -> str:
        """What a judge is asked of one reply, or of two in this order.

        Texts stand between tags with a code that is a digest of them all, so that none can hold it.
        Marks of a chat's turns within them are broken by a space.
        """
        pair = len(replies) > 1
        code = digest([request, *sorted(replies)], 32)
        parts = {"criteria": "\n".join(f"- {name}: {told}" for name, told in self.criteria.items()),
                 "form": self.form(pair), "code": code}  # fmt: skip
        names = ("request", "first", "second") if pair else ("request", "reply")
        for name, text in zip(names, (request, *replies), strict=True):
            text = _TURN.sub(r"\1 ", text)
            parts[name] = f"<{name} {code}>\n{text}\n</{name} {code}>"
        return _PLACE.sub(lambda place: parts[place[1]], self.pair if pair else self.reply)

    def read(self, answer: str, pair: bool = False) -> dict[str, float] | None:
        """Criterion → score, or preference for the one shown first; None for any other form.

        Nothing but the JSON object may stand there, behind what the judge thought.
        """
        try:
            given = parse_json(spoken(answer).strip(), "answer", WorkbenchError)
        except WorkbenchError:
            return None
        if not isinstance(given, dict) or given.keys() != self.criteria.keys():
            return None
        allowed = PREFERENCES if pair else {number: float(number) for number in self.scale}
        if any(type(v) not in (int, float, str) or v not in allowed for v in given.values()):
            return None
        return {name: allowed[given[name]] for name in self.criteria}


def read_rubric(source: Rubric | str | Path) -> Rubric:
    """The rubric of a YAML file, or the one that ships under a name ("helpfulness").

    Raises `DatasetError`, naming file and key, for one that cannot be used as it is.
    """
    if isinstance(source, Rubric):
        return source
    own = Path(__file__).with_name(f"{Path(source).name}.yaml")
    path = own if str(source) == own.stem and own.exists() else Path(source)
    content = read_yaml(path, DatasetError)
    content = content if isinstance(content, dict) else {}
    for key in content:
        one_of(f"{path}: key", key, [*_KEYS], DatasetError)
    for key, (kind, most) in _KEYS.items():
        value = content.get(key)
        if not isinstance(value, kind) or not 0 < len(value) <= most:
            raise DatasetError(
                f"{path}: {key}={shown(value)}: a {kind.__name__} of 1 to {most:,} is needed"
            )
    for entry in content["criteria"].items():
        if not all(isinstance(text, str) and text.strip() for text in entry):
            raise DatasetError(f"{path}: criteria: {shown(entry)}: a name and its text are needed")
    scale = [finite(f"{path}: scale", number, error=DatasetError) for number in content["scale"]]
    if sorted({*scale}) != scale or len(scale) < 2:
        raise DatasetError(f"{path}: scale={shown(scale)}: give numbers that rise, 2 or more")
    for key, places in _PLACES.items():
        given = _PLACE.findall(content[key])
        for place in given:
            one_of(f"{path}: {key}: place", place, places, DatasetError)
        if lacking := [place for place in places if place not in (*given, "code")]:
            raise DatasetError(f"{path}: {key}: {{{lacking[0]}}} is missing from the prompt")
    return Rubric(**{**content, "scale": tuple(content["scale"])})
