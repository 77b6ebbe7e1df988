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
_KEYS = {"scale": list, "criteria": dict, "prompt": str}
_PLACES = ("criteria", "texts", "form", "code")
_PLACE = re.compile(r"\{(\w+)\}")
_FENCE = re.compile(r"```(?:json)?\n(.*)\n```", re.DOTALL)
# Marks that chat models read as the end of a turn or a thought, or the beginning of one.
_TURN = re.compile(
    r"([<\[])(?=[|｜][^<>\s]{1,40}>|[^<>\s]{1,40}[|｜]>|/?(?:s|INST|SYS)[>\]]"
    r"|(?:(?:start|end)_of_turn|[be]os|/?think(?:ing)?)>)"
)
_BROKEN = r"\1 "


@dataclass(frozen=True)
class Rubric:
    """Criteria (name → what a judge is told), the numbers it may give for each, and the prompt.

    `read_rubric` makes one. The prompt names the places of what is put into it: `{criteria}`,
    `{texts}` (the request, with one reply or two), `{form}` (the answer wanted), `{code}`.
    """

    scale: tuple[float, ...]
    criteria: dict[str, str]
    prompt: str

    def form(self, pair: bool = False) -> str:
        """The answer wanted, with all that may stand in it."""
        choice = " | ".join(map(json.dumps, PREFERENCES if pair else self.scale))
        names = (json.dumps(name, ensure_ascii=False) for name in self.criteria)
        return f"{{{', '.join(f'{name}: {choice}' for name in names)}}}"

    def ask(self, request: str, *replies: str) -> str:
        """What a judge is asked of one reply, or of two in this order.

        Texts stand between tags with a code that is a digest of them all, so that none can hold it.
        Marks of a chat's turns within them are broken by a space.
        """
        pair = len(replies) > 1
        code = digest([request, *sorted(replies)], 32)
        names = ("request", "first", "second") if pair else ("request", "reply")
        texts = [
            f"<{name} {code}>\n{_TURN.sub(_BROKEN, text)}\n</{name} {code}>"
            for name, text in zip(names, (request, *replies), strict=True)
        ]
        parts = {
            "criteria": "\n".join(f"- {name}: {told}" for name, told in self.criteria.items()),
            "texts": "\n\n".join(texts), "form": self.form(pair), "code": code,
        }  # fmt: skip
        return _PLACE.sub(lambda place: parts[place[1]], self.prompt)

    def read(self, answer: str, pair: bool = False) -> dict[str, float] | None:
        """Criterion → score, or preference for the one shown first; None for any other form.

        Nothing but the JSON object may stand there, behind what the judge thought; it may stand in
        one Markdown code fence, which leaves it as clear.
        """
        text = spoken(answer).strip()
        fenced = _FENCE.fullmatch(text)
        try:
            given = parse_json(fenced[1] if fenced else text, "answer", WorkbenchError)
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
    own = Path(__file__).parent / f"{source}.yaml"
    path = own if own.is_file() else Path(str(source))
    content = read_yaml(path, DatasetError)
    content = content if isinstance(content, dict) else {}
    for key in content:
        one_of(f"{path}: key", key, [*_KEYS], DatasetError)
    for key, kind in _KEYS.items():
        value = content.get(key)
        if not isinstance(value, kind) or not value:
            raise DatasetError(f"{path}: {key}={shown(value)}: a {kind.__name__} is needed")
    for entry in content["criteria"].items():
        if not all(isinstance(text, str) and text.strip() for text in entry):
            raise DatasetError(f"{path}: criteria: {shown(entry)}: a name and its text are needed")
    scale = [finite(f"{path}: scale", number, error=DatasetError) for number in content["scale"]]
    if sorted({*scale}) != scale or len(scale) < 2:
        raise DatasetError(f"{path}: scale={shown(scale)}: give numbers that rise, 2 or more")
    places = _PLACE.findall(content["prompt"])
    for place in places:
        one_of(f"{path}: prompt: place", place, _PLACES, DatasetError)
    if lacking := {*_PLACES} - {*places, "code"}:
        raise DatasetError(f"{path}: prompt: {{{min(lacking)}}} is missing")
    return Rubric(**{**content, "scale": tuple(content["scale"])})
