"""Programs executed with their evidence: the facts that lead to the answer, in which order.

Facts about entities that later steps drop are no evidence: what survives is traced back from the
last step. A fact g is read after f where f is what led to the entity that g is read of (the method,
§3 rebuild, 2 and 3).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench import arguments
from workbench.errors import ProgramError, nearest
from workbench.kopl.functions import (
    FUNCTIONS,
    OTHER_NAMES,
    READS,
    SET,
    VALUE,
    Reading,
    Result,
    Source,
)
from workbench.kopl.knowledge import Fact, Knowledge
from workbench.retrieval.graphs import ROOT, Edge

_KINDS = {"Count": "count", "What": "entity", "SelectBetween": "entity", "SelectAmong": "entity"}


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


@dataclass(frozen=True, slots=True)
class Step:
    """A checked step."""

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
            shown = " ".join(map(repr, step.inputs))
            place = f"step {i} ({step.function}{' ' * bool(shown)}{shown:.80})"
            raise ProgramError(error.reason, f"{place}: {error}", i) from None
    readings = results[-1]
    last = len(steps) - 1
    if isinstance(readings, dict):
        raise ProgramError(
            "no answer", f"step {last} ({steps[-1].function}) is the last, and gives entities; end "
            "the program with What or Count", last,
        )  # fmt: skip
    if len(answers := list(dict.fromkeys(str(reading.value) for reading in readings))) > 1:
        raise ProgramError(
            "ambiguous", f"step {last} ({steps[-1].function}): {len(answers)} answers, as "
            f"{answers[0]!r:.60} and {answers[1]!r:.60}", last,
        )  # fmt: skip
    facts, edges = _evidence(steps, results)
    return Traced(answers[0], _kind(steps[-1].function, readings[0]), facts, edges)


def checked_steps(program: Any) -> list[Step]:
    """The steps of a program, its form checked. Raises `ProgramError` as `executed`."""
    if not isinstance(program, Sequence) or isinstance(program, str) or not program:
        raise ProgramError("malformed program", f"{arguments.shown(program)} is no list of steps")
    steps: list[Step] = []
    for i, entry in enumerate(program):
        function = entry.get("function") if isinstance(entry, dict) else None
        name = OTHER_NAMES.get(function, function) if isinstance(function, str) else ""
        if name not in FUNCTIONS:
            near = nearest(name, FUNCTIONS) if name else ""
            shown = arguments.shown(function)
            raise ProgramError("unknown function", f"step {i}: function {shown}{near}", i)
        _, kinds, count = FUNCTIONS[name]
        before, inputs = entry.get("dependencies", []), entry.get("inputs", [])
        whole = isinstance(before, list) and all(type(d) is int for d in before)
        if not whole or len(before) != len(kinds) or not all(0 <= d < i for d in before):
            raise ProgramError(
                "malformed dependencies", f"step {i} ({name}): dependencies {before!r:.60}; it "
                f"takes {len(kinds)}, each the number of a step before it", i,
            )  # fmt: skip
        if (
            not isinstance(inputs, list)
            or len(inputs) != count
            or any(isinstance(x, bool) or not isinstance(x, str | int | float) for x in inputs)
        ):
            raise ProgramError(
                "malformed input", f"step {i} ({name}): inputs {inputs!r:.60}; it takes {count} "
                "texts", i,
            )  # fmt: skip
        steps.append(Step(name, tuple(map(str, inputs)), tuple(before)))
    return steps


def _result(knowledge: Knowledge, step: Step, results: list[Result]) -> Result:
    run, kinds, _ = FUNCTIONS[step.function]
    given = [results[d] for d in step.dependencies]
    for d, kind, result in zip(step.dependencies, kinds, given, strict=True):
        if isinstance(result, dict) != (kind == SET):
            other = VALUE if kind == SET else SET
            raise ProgramError("malformed dependencies", f"it takes {kind}; step {d} gives {other}")
    result = run(knowledge, *given, *step.inputs)
    if not result:
        names = [knowledge.names[e] for r in given if isinstance(r, dict) for e in r]
        shown = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
        raise ProgramError(f"empty result at {step.function}", f"nothing is left of {shown}")
    return result


def _kind(function: str, reading: Reading) -> str:
    if function.startswith("Verify"):
        return "bool"
    number = "number" if reading.value.kind in ("quantity", "year") else ""
    return _KINDS.get(function, number)


def _evidence(
    steps: Sequence[Step], results: Sequence[Result]
) -> tuple[tuple[Fact, ...], tuple[Edge, ...]]:
    """The facts that the answer rests on, in the order of execution, and the edges among them."""
    wanted = _survivors(steps, results)
    leads: list[dict[str, list[Fact]]] = [{} for _ in steps]  # the last facts before an entity
    places: dict[Fact, int] = {}
    edges: set[Edge] = set()
    for i, (step, chosen) in enumerate(zip(steps, wanted, strict=True)):
        if chosen is None:
            continue
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


Survivors = dict[str, dict[Fact, None]]
"""Entity → the facts by which a step chose it, those alone that later steps go on with."""


def _survivors(steps: Sequence[Step], results: Sequence[Result]) -> list[Survivors | None]:
    """What the answer takes of each step's entities; None of a step that nothing depends on."""
    wanted: list[Survivors | None] = [None for _ in steps]
    wanted[-1] = {}

    def want(d: int, entity: str, facts: Iterable[Fact]) -> None:
        chosen = wanted[d] = wanted[d] or {}
        chosen.setdefault(entity, {}).update(dict.fromkeys(facts))

    for i in reversed(range(len(steps))):
        chosen, step = wanted[i], steps[i]
        if chosen is None:
            continue
        for d in step.dependencies:
            wanted[d] = wanted[d] or {}
        for number, entity in _sources(step, results[i], chosen):
            d = step.dependencies[number]
            if entity in results[d]:
                narrowed = step.function.startswith("QFilter")
                want(d, entity, chosen[entity] if narrowed else results[d][entity])
    return wanted


def _sources(step: Step, result: Result, chosen: Survivors) -> Iterator[Source]:
    """Yield what a step goes on from, for what is taken of it."""
    if isinstance(result, list):
        if not step.function.startswith("Verify"):
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
        verifies = step.function.startswith("Verify")
        reads = [] if verifies else [read for reading in result for read in reading.reads]
        facts = [(fact, sources) for fact, sources in reads if fact]
        yield from sorted(facts, key=lambda read: (read[1][0][0], read[0].place))
    elif step.function in READS:
        pairs = [(fact, entity) for entity, facts in chosen.items() for fact in facts]
        for fact, entity in sorted(pairs, key=lambda pair: pair[0].place):
            if step.function == "Relate":
                entity = fact.head if step.inputs[1] == "forward" else str(fact.tail)
            yield fact, ((0, entity),)
