"""The gate simulated on a server that no rule reaches into: complete, find, replace, ask again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workbench.arguments import shown, whole
from workbench.errors import GenerationError
from workbench.papers.neural_comprehension.rules import (
    Abstained,
    SymbolicRule,
    answers,
    checked,
    place_at,
    stops,
)


@dataclass(frozen=True)
class Repair:
    """One result put right: `was` stood behind `asked` in place of `answer`."""

    rule: str
    asked: str
    answer: str
    was: str


@dataclass
class Repaired:
    """`text`: what follows the prompt. `finished`: whether no wrong result is left in it, and the
    server has ended it. `abstained`: what was asked where no rule answers, with the reason.
    """

    text: str
    finished: bool = False
    calls: int = 0
    log: list[Repair] = field(default_factory=list)
    abstained: list[tuple[str, str]] = field(default_factory=list)


def repair_text(
    complete: Callable[[str], str],
    prompt: str,
    rules: Sequence[SymbolicRule | str],
    *,
    limit: int = 16,
) -> Repaired:
    """The paper's gate for closed servers (§2.5): the first wrong result is replaced, the text cut
    right behind it and sent again, until no result is wrong or `limit` calls have been made.

    `complete`: what comes behind a text. What goes on with an answer's digits is left out. Of the
    prompt's results only one that ends it, and is right so far, is looked at.

    Raises `ValueError` for a prompt that is no text, or rules as `Gate` does; `GenerationError` for
    a completion that is none.

    >>> repair_text(lambda text: wb.generate(server, [text])[0][0], "Q: 12+34=", ["addition"]).text
    '46'
    """
    if not isinstance(prompt, str):
        raise ValueError(f"prompt={shown(prompt)}: a text; no server goes on with a chat's reply")
    rules, limit = checked(rules), whole("limit", limit, 1)
    out, text, sure, guard = Repaired(""), prompt, len(prompt), ""
    for stop in stops(rules, prompt, 0)[-1:]:
        if place := place_at(rules, prompt, stop):
            (answer,) = answers([place])
            if isinstance(answer, str) and answer.startswith(place.done.lstrip(" ")):
                sure = stop
    while out.calls < limit and not out.finished:
        more, out.calls = complete(text), out.calls + 1
        if not isinstance(more, str):
            raise GenerationError(f"complete: {shown(more)} in place of a text, call {out.calls}")
        text += more.removeprefix(_overrun(guard, more))
        out.finished = True
        for stop in stops(rules, text, sure):
            place = place_at(rules, text, stop)
            if place is None:
                continue
            (answer,) = answers([place])
            if isinstance(answer, Abstained):
                out.abstained.append((place.asked, answer.reason))
                continue
            behind = place.done.lstrip(" ")
            rest = behind.removeprefix(answer)
            if rest == behind or _overrun(place.rule.guard, rest):
                was = (behind.split() or [""])[0]
                out.log.append(Repair(place.rule.name, place.asked, answer, was))
                gap = place.done[: len(place.done) - len(behind)] if behind else place.sep
                text, guard = text[:stop] + gap + answer, place.rule.guard
                out.finished, sure = False, len(text)
                break
    out.text = text[len(prompt) :]
    return out


def _overrun(guard: str, text: str) -> str:
    """What the text begins with that goes on with an answer; a full stop alone does not."""
    return text[: len(text) - len(text.lstrip(guard))].rstrip(".,") if guard else ""
