"""Candidates of a question, their votes and scores, and the decision between them (§2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.data.problems import Problem
from workbench.evaluation.answers import same_answer
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.paper import Settings

PICKS = {
    "verified": "verified by {mode}",
    "tied": "a tie of the best under {mode}: the earliest of them",
    "votes": "the votes beside {mode}",
    "nothing": "nothing recovered by {mode}: the earliest candidate",
    "alone": "the only candidate",
    "majority": "p = 0: the majority",
    "unreadable": "no answer found in any forward sample",
}
"""What settled a question → the reason in words."""


@dataclass
class Verified:
    """One question through all stages.

    `answers`: one per forward sample, "" where none was found; `candidates`: the different ones in
    order of appearance. `mode`: `"cmv"`, `"tfv"`, `"yesno"`, `"tfv_fallback"` (nothing to mask) or
    `"none"` (fewer than two candidates, or p = 0). `asked[candidate][condition]` is what was put to
    the model; `hits[candidate][condition][sample]` is 1 where the reply recovers the masked value
    (or affirms), `replies` and `reply_tokens` alike. `answer` is None where no candidate was found;
    `pick`: what settled it, one of `PICKS`, `reason` the same in words. `tokens`: generated, by
    stage; `sample_tokens`: by forward sample.
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
    pick: str = ""
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
    """Score the candidates (§2.4) and choose; ties go to the earliest.

    It is not verification that chose where the best scores are tied, or no candidate has any.
    """
    candidates = verified.candidates
    if not candidates:
        verified.answer, verified.pick = None, "unreadable"
    elif settings.p == 0:
        verified.answer, verified.pick = majority(verified.answers)[0], "majority"
    elif not verified.contested:
        verified.scores, verified.answer, verified.pick = [1.0], candidates[0], "alone"
    else:
        recovered = [sum(map(sum, hits)) for hits in verified.hits]
        votes = [sum(same_answer(a, c) for a in verified.answers) for c in candidates]
        verified.scores = [
            hits + settings.votes * count / max(1, len(verified.answers))
            for hits, count in zip(recovered, votes, strict=True)
        ]
        best = max(range(len(candidates)), key=lambda c: (verified.scores[c], -c))
        leaders = [c for c, hits in enumerate(recovered) if hits == max(recovered)]
        verified.answer = candidates[best]
        if leaders == [best]:
            verified.pick = "verified"
        elif settings.votes:
            verified.pick = "votes"
        else:
            verified.pick = "tied" if any(recovered) else "nothing"
    verified.reason = PICKS[verified.pick].format(mode=verified.mode)
