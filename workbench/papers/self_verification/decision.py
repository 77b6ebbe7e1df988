"""What is known of one question, and what follows from it: candidates, votes, scores (§2.4)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.data.problems import Problem
from workbench.evaluation.answers import same
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.paper import Settings


@dataclass
class Verified:
    """One question through all stages.

    `answers`: one a forward sample, "" where none was found; `candidates`: the different ones in
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
        return self.answer is not None and same(self.answer, self.problem.answer)

    @property
    def contested(self) -> bool:
        """Whether verification had anything to decide."""
        return len(self.candidates) > 1


def distinct(answers: Sequence[str]) -> list[str]:
    """The different answers in order of appearance, empty ones left out."""
    out: list[str] = []
    for answer in answers:
        if answer and not any(same(answer, other) for other in out):
            out.append(answer)
    return out


def majority(answers: Sequence[str], most: int = 1) -> list[str]:
    """The `most` most frequent answers (self-consistency); ties go to the earlier one."""
    candidates = distinct(answers)
    counts = Counter({c: sum(same(a, c) for a in answers) for c in candidates})
    return sorted(candidates, key=lambda c: -counts[c])[:most]


def settled(hits: Sequence[Sequence[Sequence[int]]], total: int) -> bool:
    """Whether no candidate can overtake the leader any more, whatever the samples still to come.

    Exact: the decision with all `total` samples a prompt is then the present leader. A tie goes to
    the earlier candidate, so one behind the leader needs more, one before it as much.
    """
    scores = [sum(map(sum, candidate)) for candidate in hits]
    left = [sum(total - len(samples) for samples in candidate) for candidate in hits]
    leader = max(range(len(scores)), key=lambda c: (scores[c], -c))
    return all(
        score + rest < scores[leader] + (c > leader)
        for c, (score, rest) in enumerate(zip(scores, left, strict=True))
        if c != leader
    )


def decide(one: Verified, settings: Settings) -> None:
    """Score the candidates (§2.4) and choose; ties go to the earliest."""
    if not one.candidates:
        one.answer, one.reason = None, "no answer found in any forward sample"
        return
    if settings.p == 0:
        one.answer, one.reason = majority(one.answers)[0], "p = 0: the majority"
        return
    if not one.contested:
        one.scores, one.answer, one.reason = [1.0], one.candidates[0], "all samples agree"
        return
    votes = [sum(same(a, c) for a in one.answers) for c in one.candidates]
    one.scores = [
        sum(map(sum, hits)) + settings.votes * count / max(1, len(one.answers))
        for hits, count in zip(one.hits, votes, strict=True)
    ]
    best = max(range(len(one.scores)), key=lambda c: (one.scores[c], -c))
    one.answer, one.reason = one.candidates[best], f"verified by {one.mode}"
