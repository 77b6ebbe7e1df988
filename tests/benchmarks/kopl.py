"""How fast programs of KoPL run: `python -m tests.benchmarks.kopl`, CPU seconds of one thread.

Over the worlds of chains, and over a random base of KQA Pro's size: 16,960 entities, 415,334 rows
of relations (each one twice, from either end) and 174,539 attributes, a third with a qualifier.
Its questions are rebuilt with pools of 25 facts and with databases of 1,000.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from workbench.errors import ProgramError
from workbench.kopl.knowledge import Knowledge, read_knowledge
from workbench.kopl.rebuild import rebuilt
from workbench.kopl.trace import executed
from workbench.worlds.chain_attributes import CHAINS
from workbench.worlds.chain_reading import knowledge
from workbench.worlds.chains import questions
from workbench.worlds.facts import World

ENTITIES, RELATIONS, ATTRIBUTES = 16_960, 207_667, 174_539
CONCEPTS, NAMES, KEYS = 800, 363, 846


def worlds(count: int = 2400) -> dict[str, float]:
    """Programs of drawn questions a second. Raises `SystemExit` for another answer than theirs."""
    drawn = questions("test", count)
    bases = [Knowledge(knowledge(World("test", number, 1, CHAINS))) for number in range(4)]
    at = {name: bases[int(name.rpartition("-")[2])] for name in {q.world for q in drawn}}
    start = time.process_time()
    answers = [executed(at[question.world], question.program).answer for question in drawn]
    spent = time.process_time() - start
    if answers != [question.answer for question in drawn]:
        raise SystemExit("programs come to other answers than their questions have")
    return {"world_programs_per_s": count / spent}


def base(rng: random.Random, scale: float) -> dict[str, Any]:
    """A random base, `scale` times as large as KQA Pro's."""
    count = round(ENTITIES * scale)
    concepts = {f"c{i}": {"name": f"concept {i}", "instanceOf": [f"c{i // 3}"] if i else []}
                for i in range(CONCEPTS)}  # fmt: skip
    entities = {
        f"q{i}": {"name": f"name {i}", "instanceOf": [f"c{rng.randrange(CONCEPTS)}"],
                  "attributes": [], "relations": []}
        for i in range(count)
    }  # fmt: skip

    def qualifiers() -> dict[str, Any]:
        year = {"type": "year", "value": rng.randint(1900, 2020)}
        return {"point in time": [year]} if rng.random() < 1 / 3 else {}

    for _ in range(round(RELATIONS * scale)):
        head, tail = (f"q{int(count * rng.random() ** 2)}" for _ in range(2))
        row = {"predicate": f"relation {rng.randrange(NAMES)}", "qualifiers": qualifiers()}
        entities[head]["relations"].append({**row, "object": tail, "direction": "forward"})
        entities[tail]["relations"].append({**row, "object": head, "direction": "backward"})
    for _ in range(round(ATTRIBUTES * scale)):
        value = {"type": "quantity", "value": rng.randint(0, 10**6), "unit": "metre"}
        row = {"key": f"key {rng.randrange(KEYS)}", "value": value, "qualifiers": qualifiers()}
        entities[f"q{rng.randrange(count)}"]["attributes"].append(row)
    return {"concepts": concepts, "entities": entities}


def programs(of: Knowledge, rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Rows of questions, by turns of five forms, those that have an answer."""

    def step(function: str, *inputs: str, after: tuple[int, ...] = ()) -> dict[str, Any]:
        return {"function": function, "inputs": [*inputs], "dependencies": [*after]}

    relations = [fact for fact in of.facts if isinstance(fact.tail, str)]
    attributes = [fact for fact in of.facts if not isinstance(fact.tail, str)]
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        fact, value = rng.choice(relations), rng.choice(attributes)
        tail, head, key = of.names[str(fact.tail)], of.names[fact.head], value.relation
        concept = of.names[rng.choice([*of.members])]
        back = [step("Find", tail), step("Relate", fact.relation, "backward", after=(0,))]
        every = [step("FindAll"), step("FilterConcept", concept, after=(0,)),
                 step("FilterNum", key, "500000 metre", ">", after=(1,))]  # fmt: skip
        program = (
            [*back, step("Count", after=(1,))],
            [*back, step("QFilterYear", "point in time", "1960", ">", after=(1,)),
             step("Count", after=(2,))],
            [step("Find", head), step("Find", tail), step("QueryRelation", after=(0, 1))],
            [*every, step("Count", after=(2,))],
            [step("Find", of.names[value.head]), step("QueryAttr", key, after=(0,))],
        )[len(rows) % 5]  # fmt: skip
        try:
            traced = executed(of, program)
        except ProgramError:
            continue
        if traced.facts and len(traced.facts) <= 20:
            question = f"question {len(rows)}"
            rows.append({"question": question, "program": program, "answer": traced.answer})
    return rows


def large(scale: float = 1.0, count: int = 2000) -> dict[str, float]:
    """Seconds to read the base; programs, and questions of two pools, a second."""
    rng = random.Random(0)
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kb.json"
        path.write_text(json.dumps(base(rng, scale)), encoding="utf-8")
        start = time.process_time()
        read = read_knowledge(path)
        out["kqa_size_read_s"] = time.process_time() - start
        rows = programs(read, rng, count)
        (Path(folder) / "val.json").write_text(json.dumps(rows), encoding="utf-8")
        start = time.process_time()
        for row in rows:
            executed(read, row["program"])
        out["kqa_size_programs_per_s"] = count / (time.process_time() - start)
        for pool, some in ((25, count), (1000, count // 20)):
            start = time.process_time()
            rebuilt(folder, "test", pool=pool, count=some, knowledge=read)
            out[f"rebuilt_{pool}_per_s"] = some / (time.process_time() - start)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    for name, value in (worlds() | large(parser.parse_args().scale)).items():
        print(f"{name:<28}{value:>12.1f}")
