"""KQA Pro's questions as evidence in sentences, from the files of the user's (the method, §3).

A question stays where its program, executed here, gives the answer that the file has, by 1 to 20
facts, 7 in a line at most, each told in one sentence.
"""

import logging
import random
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from workbench import arguments
from workbench.errors import DatasetError, ProgramError
from workbench.files import rows_or_errors
from workbench.kopl.knowledge import Fact, Knowledge, read_knowledge
from workbench.kopl.sentences import TEMPLATES, sentence
from workbench.kopl.trace import executed
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.chains import MOST_DEPTH
from workbench.retrieval.evidence_files import plain_text
from workbench.retrieval.graphs import ROOT, Evidence, depth

log = logging.getLogger(__name__)

Told = Callable[[Fact], str]
SPLITS = {"train": "train.json", "dev": "train.json", "test": "val.json"}
"""Split → KQA Pro's file, whose own test questions have no answers."""
MOST_FACTS = 20


def rebuilt(
    folder: str | Path,
    split: str,
    *,
    pool: int = 25,
    count: int | None = None,
    knowledge: Knowledge | None = None,
    templates: Mapping[str, str] = TEMPLATES,
    write: Callable[[str], str] | None = None,
) -> tuple[list[Evidence], Counter[str]]:
    """The questions of a split of KQA Pro, with `pool` facts each, and how many fell out and why.

    `folder` has `kb.json`, `train.json` (dev is a ninth, by the questions' texts), `val.json`
    (test). `count`: stop after so many. `knowledge`: of `kb.json`, read already. `templates`,
    `write`: as of `sentence`. Nothing that ails one question stops the others. Raises
    `FileNotFoundError`, `DatasetError` for files that cannot be read, or of which no question
    stays, `ValueError` for an argument.

    >>> questions, tally = rebuilt("kqa_pro", "test", pool=100)
    """
    arguments.one_of("split", split, tuple(SPLITS))
    arguments.whole("pool", pool, MOST_FACTS + 1)
    arguments.whole("count", 1 if count is None else count, 1)
    path = Path(folder) / SPLITS[split]
    rows = rows_or_errors(path)
    knowledge = knowledge or read_knowledge(Path(folder) / "kb.json")
    made: list[Evidence] = []
    tally: Counter[str] = Counter()
    told = cache(partial(sentence, knowledge, templates=templates, write=write))
    for number, row in enumerate(rows):
        name = f"{path.stem}-{number}"
        try:
            asked = _asked(row, name)
            of_dev = zlib.crc32(asked.question.encode()) % 9 == 0
            if split == "test" or of_dev == (split == "dev"):
                rng = random.Random(name)
                made.append(_evidence(knowledge, asked, pool, told, rng))
        except (DatasetError, ProgramError) as error:
            log.debug("%s: %s", name, error)
            tally[getattr(error, "reason", "unusable row")] += 1
        if len(made) == count:
            break
    outcome = f"{path}: {len(made)} questions stay, left out are {dict(tally.most_common())}"
    log.info(outcome)
    if not made:
        raise DatasetError(outcome)
    return made, tally


def _asked(row: Any, name: str) -> Evidence:
    """The question of a row, without facts."""
    if isinstance(row, DatasetError):
        raise row
    question, answer = (plain_text(row, field, name) for field in ("question", "answer"))
    if not question.strip() or not answer.strip() or not isinstance(row.get("program"), list):
        raise DatasetError(f"{name}: it needs a question, an answer and a program")
    return Evidence(name, question, (), (), answer, program=tuple(row["program"]))


def _evidence(
    knowledge: Knowledge, asked: Evidence, pool: int, told: Told, rng: random.Random
) -> Evidence:
    traced = executed(knowledge, asked.program)
    facts, edges, answer = traced.facts, traced.edges, traced.answer
    if answer != asked.answer and not answer_exact(asked.answer, answer):
        raise ProgramError("answer differs", f"{answer!r:.60}, not {asked.answer!r:.60}")
    if not 1 <= len(facts) <= MOST_FACTS:
        raise ProgramError("too many facts" if facts else "no facts", f"{len(facts)} facts")
    if depth(edges) > MOST_DEPTH:
        raise ProgramError("too deep", f"{depth(edges)} facts in a line")
    texts = [told(fact) for fact in facts]
    if len(set(texts)) < len(facts):
        raise ProgramError("two facts read alike", "they would be one")
    chosen = _pool(knowledge, dict(zip(texts, facts, strict=True)), pool, told, rng)
    at = {place: chosen.index(text) for place, text in enumerate(texts)} | {ROOT: ROOT}
    return replace(
        asked,
        facts=tuple(chosen),
        edges=tuple(sorted((at[u], at[v]) for u, v in edges)),
        answer_kind=traced.kind,
        chain=tuple(at[place] for place in range(len(facts))),
    )


def _pool(
    knowledge: Knowledge, gold: dict[str, Fact], pool: int, told: Told, rng: random.Random
) -> list[str]:
    """Sentences, shuffled: the gold ones, a quarter each of their entities and relations, any.

    None but the gold ones joins the two ends of one of them: told from its other end, as child for
    mother, or of another time, it might answer too.
    """
    chosen, joined = dict.fromkeys(gold), {frozenset((f.head, f.tail)) for f in gold.values()}
    ends = dict.fromkeys(e for f in gold.values() for e in (f.head, f.tail) if isinstance(e, str))
    about = [knowledge.about[entity] for entity in ends]
    alike = [knowledge.of[name] for name in dict.fromkeys(f.relation for f in gold.values())]
    for lists, most in ((about, pool // 4), (alike, pool // 4), ([knowledge.facts], 4 * pool)):
        drawn = [f for facts in lists for f in rng.sample(facts, min(len(facts), most))]
        rng.shuffle(drawn)
        room = min(pool, len(chosen) + most)
        for fact in drawn:
            if len(chosen) == room:
                break
            if frozenset((fact.head, fact.tail)) not in joined:
                chosen[told(fact)] = None
    order = [*chosen]
    rng.shuffle(order)
    return order
