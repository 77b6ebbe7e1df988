"""self_verify(): sample answers, conclude each, let the model re-derive what was masked, choose."""

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

from workbench.data.problems import Problem
from workbench.errors import ContextLengthError
from workbench.evaluation import math_answers
from workbench.evaluation.answers import extract_answer, same_answer
from workbench.generation.complete import Completer, complete
from workbench.generation.requests import GenRequest
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification import conditions, prompts
from workbench.papers.self_verification.conclusions import conclude
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.decision import Verified, decide, distinct, settled
from workbench.papers.self_verification.paper import Settings

log = logging.getLogger(__name__)

_ROUND = 2
"""Verification samples drawn at a time where stopping early is allowed."""


def self_verify(
    model: Completer,
    problems: Sequence[Problem],
    settings: Settings | None = None,
    *,
    candidates: Sequence[Sequence[str]] | None = None,
    store: SampleStore | None = None,
) -> list[Verified]:
    """Answer every problem by Self-Verification (§2), and keep all that led to the answer.

    Stages run over all problems at once. `candidates` replaces forward sampling. Samples go to
    `store` (in memory where none is given), so that a larger p or k draws only what is new.

    Raises as `generation.complete`; `ValueError` for candidates of another length.

    >>> verified = self_verify(wb.load("sums"), read_problems("sums")[:10], Settings().tiny())
    >>> [v.answer for v in verified]
    """
    settings = settings or Settings()
    store = store if store is not None else SampleStore()
    if candidates is None:
        solved = solve(model, problems, settings, store)
    elif len(candidates) != len(problems):
        raise ValueError(f"{len(candidates)} lists of candidates for {len(problems)} problems")
    else:
        solved = [
            Verified(p, list(c), [], distinct(c)) for p, c in zip(problems, candidates, strict=True)
        ]
    contested = [v for v in solved if v.contested and settings.p]
    conclude(model, contested, settings, store)
    check(model, contested, settings, store)
    for verified in solved:
        decide(verified, settings)
    return solved


def solve(
    model: Completer,
    problems: Sequence[Problem],
    settings: Settings,
    store: SampleStore | None,
    *,
    n: int = 0,
    temperature: float | None = None,
) -> list[Verified]:
    """Forward reasoning (§2.1): `n` samples per problem (default k), answers and candidates."""
    if settings.extraction == "math-verify":
        for kind in {problem.kind for problem in problems}:
            math_answers.require(kind)
    heat = settings.t_forward if temperature is None else temperature
    n = n or settings.k
    if heat == 0 and n > 1:
        log.warning("at temperature 0 all %d samples are one; drawing it once", n)
        n = 1
    requests, exemplars = [], []
    for problem in problems:
        exemplars = prompts.exemplars(
            problem.dataset, "forward", shots=settings.shots, seed=settings.seed
        )
        requests.append(
            GenRequest(
                prompts.question_prompt(problem.text, exemplars, settings.chat), n,
                settings.max_new_tokens, heat, seed=settings.seed, stage="forward",
                stop=() if settings.chat else ("\n",),
            )
        )  # fmt: skip
    try:
        completions = complete(model, requests, store=store)
    except ContextLengthError as error:
        raise prompts.too_long(error, requests[error.request], exemplars) from error
    out = []
    for problem, completion in zip(problems, completions, strict=True):
        answers = [
            extract_answer(text, problem.kind, style=settings.extraction, labels=problem.labels)
            for text in completion.texts
        ]
        verified = Verified(problem, answers, completion.texts, distinct(answers))
        verified.sample_tokens = [sample.n_tokens for sample in completion.samples]
        verified.tokens["forward"] = sum(verified.sample_tokens)
        out.append(verified)
    return out


def check(
    model: Completer, solved: Sequence[Verified], settings: Settings, store: SampleStore | None
) -> None:
    """Backward verification (§2.3): fill in `mode`, `conditions`, `asked`, `hits`, `replies`."""
    asked: list[tuple[Verified, int, int, GenRequest]] = []
    for verified in solved:
        for c, r, request in _requests(verified, settings):
            asked.append((verified, c, r, request))
        width = max(1, len(verified.conditions))
        verified.hits, verified.replies, verified.reply_tokens = (
            [[[] for _ in range(width)] for _ in verified.candidates] for _ in range(3)
        )
        verified.tokens["backward"] = 0
    total = 1 if settings.t_backward == 0 else settings.p
    if total < settings.p:
        log.warning("at temperature 0 all %d samples are one; drawing it once", settings.p)
    step = _ROUND if settings.early_stop else max(1, total)
    for done in range(0, total, step):
        upto = min(total, done + step)
        still_open = [x for x in asked if not (settings.early_stop and settled(x[0].hits, total))]
        requests = [replace(request, n=upto) for *_, request in still_open]
        try:
            completions = complete(model, requests, store=store)
        except ContextLengthError as error:
            exemplars = _exemplars(still_open[error.request][0], settings)
            raise prompts.too_long(error, requests[error.request], exemplars) from error
        for (verified, c, r, _), completion in zip(still_open, completions, strict=True):
            for sample in completion.samples[done:]:
                verified.hits[c][r].append(_hit(verified, r, sample.text, settings))
                verified.replies[c][r].append(sample.text)
                verified.reply_tokens[c][r].append(sample.n_tokens)
                verified.tokens["backward"] += sample.n_tokens


def _requests(verified: Verified, settings: Settings) -> list[tuple[int, int, GenRequest]]:
    """(candidate, condition, request) of everything asked about a question.

    Sets its `mode`, `conditions` and `asked`.
    """
    kind = settings.verification
    kind = prompts.verification_kind(verified.problem.dataset) if kind == "auto" else kind
    masked = _masked(verified, settings) if kind == "cmv" else []
    verified.mode = kind if masked or kind != "cmv" else "tfv_fallback"
    verified.conditions = [condition for condition, _ in masked]
    contexts = [text for _, text in masked] or [verified.stated or verified.problem.question]
    verified.asked = [
        [
            prompts.verification_question(context, conclusion, prompts.kind_of(verified.mode))
            for context in contexts
        ]
        for conclusion in verified.conclusions
    ]
    exemplars = _exemplars(verified, settings)
    out = []
    for c, questions in enumerate(verified.asked):
        for r, question in enumerate(questions):
            request = GenRequest(
                prompts.question_prompt(question, exemplars, settings.chat), settings.p or 1,
                settings.max_new_tokens, settings.t_backward, seed=settings.seed, stage="backward",
                stop=() if settings.chat else ("\n\n",),
            )  # fmt: skip
            out.append((c, r, request))
    return out


def _masked(verified: Verified, settings: Settings) -> list[tuple[Condition, str]]:
    """The conditions to ask for, each with the masked text; released masks change `stated`."""
    problem = verified.problem
    if settings.masking == "released":
        masked = conditions.released(problem, settings.max_conditions or 3)
        verified.stated = conditions.released_text(problem) if masked else verified.stated
    else:
        spans = conditions.find(verified.stated, dates=problem.kind == "date")
        masked = [(c, conditions.mask(verified.stated, c)) for c in spans]
        masked = masked[: settings.max_conditions or None]
    if settings.conditions == "first":
        return masked[:1]
    if settings.conditions == "random" and masked:
        return [random.Random(f"{settings.seed}/{problem.id}").choice(masked)]
    return masked


def _exemplars(verified: Verified, settings: Settings) -> list[prompts.Exemplar]:
    return prompts.exemplars(
        verified.problem.dataset, prompts.kind_of(verified.mode), shots=settings.shots,
        seed=settings.seed, equations=settings.equation_style,
    )  # fmt: skip


def _hit(verified: Verified, condition: int, text: str, settings: Settings) -> int:
    """1 where a reply recovers the masked value, or affirms."""
    kind = prompts.kind_of(verified.mode)
    reply = extract_answer(text, prompts.REPLY_KINDS[kind], style=settings.extraction)
    expected = prompts.AFFIRMED.get(kind) or verified.conditions[condition].value
    return int(same_answer(reply, expected))
