"""The gold program executed over what given facts say, and nothing else (§2.4).

It is told how to answer, so that its right answers say that evidence sufficed. It is no end-to-end
question answering, and every row of it is named `oracle_program_em_*`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workbench.errors import DatasetError, ProgramError
from workbench.kopl.knowledge import Knowledge
from workbench.kopl.trace import executed
from workbench.papers.reasonchainqa.study import Study
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.chains import chain_of
from workbench.retrieval.explain import Reader
from workbench.retrieval.graphs import Evidence
from workbench.worlds.chain_reading import knowledge_of


def answered(question: Evidence, facts: Sequence[int]) -> str:
    """The answer that a question's program comes to over facts at these places.

    Empty where they do not suffice, or are sentences that no invented world has.
    """
    try:
        knowledge = Knowledge(knowledge_of([question.facts[place] for place in facts]))
        return executed(knowledge, question.program).answer
    except (DatasetError, ProgramError):
        return ""


def reader(question: Evidence) -> Reader:
    """The question's own program as a reader: (a question, facts) → its answer over these facts.

    Only of what it was written for: another question is answered by the same program.
    """

    def answer(_: str, facts: Sequence[str]) -> str:
        told = replace(question, facts=tuple(facts), edges=())
        return answered(told, range(len(facts)))

    return answer


def run(study: Study) -> dict[str, list[list[float]]]:
    """Evidence → `[seed][question]`, 1 where the program over it answers right.

    Over no facts, all, the gold ones, and those of each method. Empty unless programs come to the
    answer over all facts of each question, as those of a user's own files need not.
    """
    test = study.test
    evidence: Mapping[str, list[list[Sequence[int]]]] = {
        "none": [[() for _ in test]],
        "all": [[range(len(q.facts)) for q in test]],
        "gold": [[chain_of(q) for q in test]],
        **study.predicted,
    }
    out: dict[str, list[list[float]]] = {}
    for name in ("all", *evidence):
        out[name] = [
            [float(answer_exact(q.answer, answered(q, facts)))
             for q, facts in zip(test, seed, strict=True)] for seed in evidence[name]
        ]  # fmt: skip
        if name == "all" and not all(map(all, out["all"])):
            return {}
    return out
