"""Programs executed with their evidence: the facts that lead to the answer, in which order.

Facts about entities that later steps drop are no evidence: what survives is traced back from the
last step. A fact g is read after f where f is what led to the entity that g is read of (the method,
§3 rebuild, 2 and 3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from workbench import arguments
from workbench.errors import ProgramError, nearest
from workbench.kopl.functions import FUNCTIONS, SET, Reading, Result, Source
from workbench.kopl.knowledge import Fact, Knowledge
from workbench.kopl.values import plain
from workbench.retrieval.graphs import ROOT, Edge

Survivors = dict[str, dict[Fact, None]]
"""Entity → the facts by which a step chose it, those alone that later steps go on with."""


@dataclass(frozen=True)
class Traced:
    """What a program comes to.

    `answer`: as text. `kind`: of `retrieval.graphs.KINDS`, or empty. `facts`: the evidence in the
    order of execution, each once. `edges`: between places in `facts`, sorted; from `ROOT` where no
    fact leads there.
    """

    answer: str
    kind: str
    facts: tuple[Fact, ...]
    edges: tuple[Edge, ...]


class Step(NamedTuple):
    """A step whose form is right."""

    function: str
    inputs: tuple[str, ...]
    dependencies: tuple[int, ...]


def executed(knowledge: Knowledge, program: Sequence[dict[str, Any]]) -> Traced:
    """Execute a KoPL program: steps of `function`, `inputs` and `dependencies`.

    Raises `ProgramError`, whose `reason` and `step` say what went wrong where: an unknown function,
    a dependency that is no earlier step, inputs of another number or form, an entity that is
    missing, a step that nothing is left of, values that do not compare, several answers. An entity
    that lacks the attribute by which it is chosen among others is an error, no entity less; a
    filter, a count and an inverse relation cannot see what the knowledge base does not say.

    >>> executed(knowledge, [{"function": "Find", "inputs": ["Ada"], "dependencies": []},
    ...                      {"function": "Count", "inputs": [], "dependencies": [0]}]).answer
    '1'
    """
    steps = checked_steps(program)
    results: list[Result] = []
    for i, step in enumerate(steps):
        try:
            results.append(_result(knowledge, step, results))
        except ProgramError as error:
            shown = " ".join([step.function, *map(repr, step.inputs)])
            raise ProgramError(error.reason, f"step {i} ({shown:.80}): {error}", i) from None
    readings, last = results[-1], len(steps) - 1
    place = f"step {last} ({steps[-1].function})"
    if isinstance(readings, dict):
        message = f"{place} is the last, and gives entities; end the program with What or Count"
        raise ProgramError("no answer", message, last)
    if len(answers := list(dict.fromkeys(str(reading.value) for reading in readings))) > 1:
        message = f"{place}: {len(answers)} answers, as {answers[0]!r:.60} and {answers[1]!r:.60}"
        raise ProgramError("ambiguous", message, last)
    facts, edges = _evidence(steps, results)
    return Traced(answers[0], _kind(steps[-1].function, readings[0]), facts, edges)


def checked_steps(program: Any) -> list[Step]:
    """The steps of a program, its form checked. Raises `ProgramError` as `executed`."""
    if not isinstance(program, list | tuple) or not program:
        raise ProgramError("malformed program", f"{arguments.shown(program)} is no list of steps")
    steps: list[Step] = []
    for i, entry in enumerate(program):
        entry = entry if isinstance(entry, dict) else {}
        name, before, inputs = (entry.get(f) for f in ("function", "dependencies", "inputs"))
        if not isinstance(name, str) or name not in FUNCTIONS:
            near = nearest(name, FUNCTIONS) if isinstance(name, str) else ""
            message = f"step {i}: function {arguments.shown(name)} is unknown{near}"
            raise ProgramError("unknown function", message, i)
        _, kinds, count = FUNCTIONS[name]
        for reason, what, values, needed, types in (
            ("malformed dependencies", "numbers of steps before it", before, len(kinds), (int,)),
            ("malformed input", "texts", inputs, count, (str, int, float)),
        ):
            listed = [] if values is None else values
            right = isinstance(listed, list) and len(listed) == needed
            right = right and all(type(value) in types for value in listed)
            if not right or (types == (int,) and any(not 0 <= d < i for d in listed)):
                given = f"it takes {what}, {needed} in all, not {arguments.shown(values)}"
                raise ProgramError(reason, f"step {i} ({name}): {given}", i)
        texts = tuple(plain(str(value)) for value in inputs or [])
        steps.append(Step(name, texts, tuple(before or [])))
    return steps


def _result(knowledge: Knowledge, step: Step, results: list[Result]) -> Result:
    run, kinds, _ = FUNCTIONS[step.function]
    given = [results[d] for d in step.dependencies]
    for d, kind, result in zip(step.dependencies, kinds, given, strict=True):
        if isinstance(result, dict) != (kind == SET):
            other = "a value" if kind == SET else SET
            raise ProgramError("malformed dependencies", f"it takes {kind}; step {d} gives {other}")
    result = run(knowledge, *given, *step.inputs)
    if not result:
        names = [knowledge.names[e] for part in given if isinstance(part, dict) for e in part]
        shown = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
        raise ProgramError(f"empty result at {step.function}", f"nothing is left of {shown}")
    return result


def _kind(function: str, reading: Reading) -> str:
    if function.startswith(("Verify", "Count")):
        return "bool" if function != "Count" else "count"
    if function.startswith(("What", "QueryName", "Select")):
        return "entity"
    return "number" if reading.value.kind in ("quantity", "year") else ""


def _evidence(
    steps: Sequence[Step], results: Sequence[Result]
) -> tuple[tuple[Fact, ...], tuple[Edge, ...]]:
    """The facts that the answer rests on, in the order of execution, and the edges among them."""
    wanted = _survivors(steps, results)
    leads: list[dict[str, list[Fact]]] = [{} for _ in steps]  # the last facts before an entity
    places: dict[Fact, int] = {}
    edges: set[Edge] = set()
    for i, chosen in wanted.items():
        step = steps[i]
        for fact, sources in _reads(step, results[i], chosen):
            place = places.setdefault(fact, len(places))
            before = (f for d, entity in sources for f in leads[step.dependencies[d]][entity])
            # A fact that is read again leads to none that was read before it.
            edges |= {(places[f], place) for f in before if places[f] < place}
        for entity, facts in chosen.items():
            after = (f for d in step.dependencies for f in leads[d].get(entity, ()))
            leads[i][entity] = [*(facts or dict.fromkeys(after))]
    reached = {v for _, v in edges}
    edges |= {(ROOT, place) for place in places.values() if place not in reached}
    return tuple(places), tuple(sorted(edges))


def _survivors(steps: Sequence[Step], results: Sequence[Result]) -> dict[int, Survivors]:
    """Step → what the answer takes of its entities; steps that nothing depends on are left out."""
    wanted: dict[int, Survivors] = {len(steps) - 1: {}}
    for i in reversed(range(len(steps))):
        if i not in wanted:
            continue
        step = steps[i]
        for d in step.dependencies:
            wanted.setdefault(d, {})
        for number, entity in _sources(step, results[i], wanted[i]):
            d = step.dependencies[number]
            if entity in results[d]:
                narrowed = step.function.startswith("QFilter")
                facts = wanted[i][entity] if narrowed else dict.fromkeys(results[d][entity])
                wanted[d].setdefault(entity, {}).update(facts)
    return dict(sorted(wanted.items()))


def _sources(step: Step, result: Result, chosen: Survivors) -> Iterator[Source]:
    """Yield what a step goes on from, for what is taken of it."""
    if isinstance(result, list):
        yield from (s for reading in result for _, sources in reading.reads for s in sources)
    elif step.function == "Relate":
        yield from (source for _, sources in _reads(step, result, chosen) for source in sources)
    else:
        yield from ((d, entity) for entity in chosen for d in range(len(step.dependencies)))


def _reads(
    step: Step, result: Result, chosen: Survivors
) -> Iterator[tuple[Fact, tuple[Source, ...]]]:
    """Yield the facts that a step itself reads, in order of dependencies and places."""
    if isinstance(result, list):
        reads = [(fact, sources) for r in result for fact, sources in r.reads if fact]
        yield from sorted(reads, key=lambda read: (read[1][0][0], read[0].place))
    elif not step.function.startswith("QFilter"):  # that goes on with facts that are read already
        pairs = [(fact, entity) for entity, facts in chosen.items() for fact in facts]
        for fact, entity in sorted(pairs, key=lambda pair: pair[0].place):
            if step.function == "Relate":
                entity = fact.head if step.inputs[1] == "forward" else str(fact.tail)
            yield fact, ((0, entity),)
