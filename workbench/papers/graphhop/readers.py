"""ProgramReader: the gold program executed over what the given facts say, and nothing else.

It is told how to answer, so that its right answers say that evidence sufficed. It is no end-to-end
question answering, and every row of it is named `oracle_program_em_*` (§4). Of invented worlds
alone, whose sentences it reads by their templates.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from workbench.arguments import one_of
from workbench.retrieval.graphs import Evidence
from workbench.worlds.relations import ATTRIBUTES, RELATIONS

Triple = tuple[str, str, str | int]
"""(relation or attribute, head, tail or value)."""
_NAME = r"[A-Z][a-z]+(?: (?:of )?[A-Z][a-z]+)*"
_HOLES = {"h": rf"(?P<h>{_NAME})", "t": rf"(?P<t>{_NAME})", "v": r"(?P<v>\d+)"}
_FORMS = [
    (name, re.compile(re.escape(sentence).replace(r"\{", "{").replace(r"\}", "}").format(**_HOLES)))
    for name, relation in (RELATIONS | ATTRIBUTES).items()
    for sentence in relation.sentences
]


class Unanswerable(Exception):  # noqa: N818
    """The facts do not say what a step needs."""


def parsed(fact: str) -> Triple | None:
    """What a sentence of an invented world says; None for any other.

    >>> parsed("Ada Bel was born in Dorla.")
    ('born_in', 'Ada Bel', 'Dorla')
    """
    for name, form in _FORMS:
        if match := form.fullmatch(fact):
            tail = match.groupdict()
            return name, match["h"], int(tail["v"]) if tail.get("v") else tail["t"]
    return None


def answered(program: Sequence[dict[str, Any]], facts: Sequence[str]) -> str:
    """The answer that a program comes to over these facts; empty where they do not suffice.

    Raises `ValueError` for a step with a function that no invented world has.
    """
    triples = [triple for fact in facts if (triple := parsed(fact))]
    results: list[Any] = []
    try:
        for step in program:
            one_of("function", step["function"], [*_STEPS])
            given = [results[i] for i in step["dependencies"]]
            results.append(_STEPS[step["function"]](triples, given, *step["inputs"]))
    except Unanswerable:
        return ""
    return str(results[-1]) if results else ""


def readable(question: Evidence) -> bool:
    """Whether the program can be executed, and comes to the answer over all facts."""
    try:
        return bool(question.program) and right(question, range(len(question.facts))) == 1
    except (LookupError, TypeError, ValueError):  # a program of a user's own is any
        return False


def right(question: Evidence, facts: Sequence[int]) -> float:
    """1 where the program over the facts at these places comes to the gold answer, else 0."""
    texts = [question.facts[place] for place in facts]
    return float(answered(question.program, texts) == question.answer)


def _related(triples: list[Triple], given: list[Any], relation: str, way: str) -> list[str]:
    pairs = [(h, str(t)) if way == "forward" else (str(t), h) for r, h, t in triples
             if r == relation]  # fmt: skip
    if ends := sorted({end for start, end in pairs if start in given[0]}):
        return ends
    raise Unanswerable


def _single(entities: list[str]) -> str:
    if len(entities) != 1:
        raise Unanswerable
    return entities[0]


def _value(triples: list[Triple], entity: str, attribute: str) -> int:
    return int(_single([str(t) for r, h, t in triples if r == attribute and h == entity]))


def _largest(triples: list[Triple], entities: list[str], attribute: str) -> str:
    values = {entity: _value(triples, entity, attribute) for entity in entities}
    return _single([entity for entity in values if values[entity] == max(values.values())])


_STEPS: dict[str, Callable[..., Any]] = {
    "Find": lambda triples, given, name: [name],
    "Relate": _related,
    "And": lambda triples, given: sorted({*given[0]} & {*given[1]}),
    "What": lambda triples, given: _single(given[0]),
    "QueryAttr": lambda triples, given, name: _value(triples, _single(given[0]), name),
    "Count": lambda triples, given: len(given[0]),
    "VerifyNum": lambda triples, given, limit, sign: "yes" if given[0] > int(limit) else "no",
    "VerifyStr": lambda triples, given, name: "yes" if given[0] == name else "no",
    "SelectAmong": lambda triples, given, name, end: _largest(triples, given[0], name),
    "SelectBetween": lambda triples, given, name, end: _largest(
        triples, [_single(side) for side in given], name
    ),
}
"""KoPL's functions as the families of `worlds.evidence` use them: (facts, results it depends on,
inputs) → result. Entities are lists, values numbers, answers text."""
