"""Candidates of a question, their votes and scores, and the decision between them (§2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.data.problems import Problem
from workbench.evaluation.answers import same_answer
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.paper import Settings


@dataclass
class Verified:
    """One question through all stages.

    `answers`: one per forward sample, "" where none was found; `candidates`: the different ones in
    order of appearance. `mode`: `"cmv"`, `"tfv"`, `"yesno"`, `"tfv_fallback"` (nothing to mask) or
    `"none"` (fewer than two candidates, or p = 0). `asked[candidate][condition]` is what was put to
    the model; `hits[candidate][condition][sample]` is 1 where the reply recovers the masked value
    (or affirms), `replies` and `reply_tokens` alike. `answer` is None, with the reason, where no
    candidate was found. `tokens`: generated, by stage; `sample_tokens`: by forward sample.
    """

    problem: Problem
    answers: list[str]
    thoughts: list[str]
    candidates: list[str]
    mode: str = "none"
    stated: str = ""
    conditions: list[Condition] = field(default_factory=list)
    conclusions: list[str] = field(default_factory=list)
    hits: list[list[list[int]]] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    replies: list[list[list[str]]] = field(default_factory=list)
    reply_tokens: list[list[list[int]]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    answer: str | None = None
    reason: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    sample_tokens: list[int] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        """Whether the chosen answer is the gold one."""
        return self.answer is not None and same_answer(self.answer, self.problem.answer)

    @property
    def contested(self) -> bool:
        """Whether verification had anything to decide."""
        return len(self.candidates) > 1


def distinct(answers: Sequence[str]) -> list[str]:
    """The different answers in order of appearance, empty ones left out."""
    out: list[str] = []
    for answer in answers:
        if answer and not any(same_answer(answer, other) for other in out):
            out.append(answer)
    return out


def majority(answers: Sequence[str], count: int = 1) -> list[str]:
    """The `count` most frequent answers (self-consistency); ties go to the earlier one."""
    candidates = distinct(answers)
    votes = {c: sum(same_answer(a, c) for a in answers) for c in candidates}
    return sorted(candidates, key=lambda c: -votes[c])[:count]


def settled(hits: Sequence[Sequence[Sequence[int]]], total: int) -> bool:
    """Whether no candidate can overtake the leader any more, whatever the samples still to come.

    `hits[candidate][condition][sample]`, `total` samples per prompt in the end. Exact: the decision
    with all of them is then the present leader. A tie goes to the earlier candidate, so one behind
    the leader needs more, one before it as much.
    """
    scores = [sum(map(sum, candidate)) for candidate in hits]
    left = [sum(total - len(samples) for samples in candidate) for candidate in hits]
    leader = max(range(len(scores)), key=lambda c: (scores[c], -c))
    return all(
        score + rest < scores[leader] + (c > leader)
        for c, (score, rest) in enumerate(zip(scores, left, strict=True))
        if c != leader
    )


def decide(verified: Verified, settings: Settings) -> None:
    """Score the candidates (§2.4) and choose; ties go to the earliest."""
    if not verified.candidates:
        verified.answer, verified.reason = None, "no answer found in any forward sample"
        return
    if settings.p == 0:
        verified.answer, verified.reason = majority(verified.answers)[0], "p = 0: the majority"
        return
    if not verified.contested:
        verified.scores, verified.answer = [1.0], verified.candidates[0]
        verified.reason = "all samples agree"
        return
    votes = [sum(same_answer(a, c) for a in verified.answers) for c in verified.candidates]
    verified.scores = [
        sum(map(sum, hits)) + settings.votes * count / max(1, len(verified.answers))
        for hits, count in zip(verified.hits, votes, strict=True)
    ]
    best = max(range(len(verified.scores)), key=lambda c: (verified.scores[c], -c))
    verified.answer, verified.reason = verified.candidates[best], f"verified by {verified.mode}"
