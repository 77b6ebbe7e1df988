"""self_verify(): sample answers, conclude each, let the model re-derive what was masked, choose."""

import logging
import random
import re
from collections.abc import Sequence
from dataclasses import replace

from workbench.data.problems import Problem
from workbench.errors import ContextLengthError
from workbench.evaluation.answers import extract, same
from workbench.generation.complete import Completer, complete
from workbench.generation.requests import GenRequest
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification import conditions as cond
from workbench.papers.self_verification import prompts as words
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
    """Every problem's answer by Self-Verification (§2), with all that led to it.

    Stages run over all problems at once. `candidates` replaces forward sampling. Samples go to
    `store` (in memory where none is given), so that a larger p or k draws only what is new.

    Raises as `generation.complete`; `ValueError` for candidates of another length.
    """
    settings = settings or Settings()
    kept = store if store is not None else SampleStore()
    if candidates is None:
        found = solve(model, problems, settings, kept)
    elif len(candidates) != len(problems):
        raise ValueError(f"{len(candidates)} lists of candidates for {len(problems)} problems")
    else:
        found = [
            Verified(p, list(c), [], distinct(c)) for p, c in zip(problems, candidates, strict=True)
        ]
    contested = [v for v in found if v.contested and settings.p]
    conclude(model, contested, settings, kept)
    check(model, contested, settings, kept)
    for one in found:
        decide(one, settings)
    return found


def solve(
    model: Completer,
    problems: Sequence[Problem],
    settings: Settings,
    store: SampleStore | None,
    *,
    n: int = 0,
    temperature: float | None = None,
) -> list[Verified]:
    """Forward reasoning (§2.1): `n` samples a problem (default k), answers and candidates."""
    t = settings.t_forward if temperature is None else temperature
    n = n or settings.k
    if t == 0 and n > 1:
        log.warning("at temperature 0 all %d samples are one; drawing it once", n)
        n = 1
    requests, shown = [], []
    for problem in problems:
        shown = words.exemplars(
            problem.dataset, "forward", shots=settings.shots, seed=settings.seed
        )
        prompt = words.ask(problem.text, shown, settings.chat)
        requests.append(
            GenRequest(
                prompt,
                n,
                settings.max_new_tokens,
                t,
                seed=settings.seed,
                stage="forward",
                stop=() if settings.chat else ("\n",),
            )
        )
    try:
        results = complete(model, requests, store=store)
    except ContextLengthError as error:
        raise words.too_long(error, requests[error.request], shown) from error
    out = []
    for problem, result in zip(problems, results, strict=True):
        answers = [extract(t, problem.kind, style=settings.extraction) for t in result.texts]
        one = Verified(problem, answers, result.texts, distinct(answers))
        one.sample_tokens = [s.n_tokens for s in result.samples]
        one.tokens["forward"] = sum(one.sample_tokens)
        out.append(one)
    return out


def conclude(
    model: Completer, found: Sequence[Verified], settings: Settings, store: SampleStore | None
) -> None:
    """Fill in `stated` and each candidate's declarative sentence (§2.2).

    The model rewrites the first candidate; the others take its place in that sentence. Where it
    does not occur there, each is rewritten; where that fails, too, question and answer stand
    one after the other.
    """
    asked = {}
    for one in found:
        one.stated, question = cond.statement(one.problem)
        if one.problem.kind == "date":
            when = re.sub(r"^What is the date ?| ?in MM/DD/YYYY\?$", "", question)
            one.conclusions = [f"{when} is {c}." for c in one.candidates]
        else:
            asked[id(one)] = question
    first = [(one, one.candidates[0]) for one in found if id(one) in asked]
    again: list[tuple[Verified, str]] = []
    for (one, _), sentence in zip(
        first, _rewritten(model, first, asked, settings, store), strict=True
    ):
        texts = [words.answer_text(one.problem, c) for c in one.candidates]
        swapped = [swap(sentence, texts[0], text) for text in texts]
        one.conclusions = [s for s in swapped if s is not None]
        if not one.conclusions:
            one.conclusions = [f"{asked[id(one)]} {words.PHRASE} {texts[0]}."]
            again += [(one, c) for c in one.candidates[1:]]
    for (one, candidate), sentence in zip(
        again, _rewritten(model, again, asked, settings, store), strict=True
    ):
        text = words.answer_text(one.problem, candidate)
        good = swap(sentence, text, text)
        one.conclusions.append(good or f"{asked[id(one)]} {words.PHRASE} {text}.")


def _rewritten(
    model: Completer,
    pairs: Sequence[tuple[Verified, str]],
    asked: dict[int, str],
    settings: Settings,
    store: SampleStore | None,
) -> list[str]:
    requests = [
        GenRequest(
            words.rewriting(asked[id(one)], words.answer_text(one.problem, c), settings.chat),
            max_new_tokens=settings.max_new_tokens,
            stop=() if settings.chat else ("\n",),
            stage="rewrite",
        )
        for one, c in pairs
    ]
    results = complete(model, requests, store=store)
    for (one, _), result in zip(pairs, results, strict=True):
        before = one.tokens.get("rewrite", 0)
        one.tokens["rewrite"] = before + result.samples[0].n_tokens
    return [" ".join(result.texts[0].split()) for result in results]


def swap(sentence: str, old: str, new: str) -> str | None:
    """The sentence with the last occurrence of answer `old` as a word of its own replaced by `new`.

    Numbers are found by value, so that "1,200" counts as 1200. None where it does not occur.
    """
    spans = [(c.start, c.end) for c in cond.find(sentence) if same(c.value, old)]
    alone = rf"(?<![\w-])(?<!\d[.,:/]){re.escape(old)}(?!\w|[.,:/]\d)"
    spans = spans or [m.span() for m in re.finditer(alone, sentence, re.IGNORECASE)]
    if not spans:
        return None
    start, end = spans[-1]
    return sentence[:start] + new + sentence[end:]


def check(
    model: Completer, found: Sequence[Verified], settings: Settings, store: SampleStore | None
) -> None:
    """Backward verification (§2.3): fill in `mode`, `conditions`, `asked`, `hits`, `replies`."""
    asked: list[tuple[Verified, int, int, GenRequest]] = []
    for one in found:
        for c, r, request in _questions(one, settings):
            asked.append((one, c, r, request))
        width = max(1, len(one.conditions))
        one.hits, one.replies, one.reply_tokens = (
            [[[] for _ in range(width)] for _ in one.candidates] for _ in range(3)
        )
        one.tokens["backward"] = 0
    total = 1 if settings.t_backward == 0 else settings.p
    if total < settings.p:
        log.warning("at temperature 0 all %d samples are one; drawing it once", settings.p)
    step = _ROUND if settings.early_stop else max(1, total)
    for done in range(0, total, step):
        upto = min(total, done + step)
        open_ = [x for x in asked if not (settings.early_stop and settled(x[0].hits, total))]
        requests = [replace(x[3], n=upto) for x in open_]
        try:
            results = complete(model, requests, store=store)
        except ContextLengthError as error:
            shown = _shown(open_[error.request][0], settings)
            raise words.too_long(error, requests[error.request], shown) from error
        for (one, c, r, _), result in zip(open_, results, strict=True):
            for sample in result.samples[done:]:
                one.hits[c][r].append(_hit(one, r, sample.text, settings))
                one.replies[c][r].append(sample.text)
                one.reply_tokens[c][r].append(sample.n_tokens)
                one.tokens["backward"] += sample.n_tokens


def _questions(one: Verified, settings: Settings) -> list[tuple[int, int, GenRequest]]:
    """(candidate, condition, request) of everything asked about one problem; sets its mode."""
    problem = one.problem
    kind = settings.verification
    kind = words.verification_of(problem.dataset) if kind == "auto" else kind
    masked: list[tuple[Condition, str]] = []
    if kind == "cmv":
        if settings.masking == "released":
            masked = cond.released(problem, settings.max_conditions or 3)
            one.stated = cond.released_text(problem) if masked else one.stated
        else:
            spans = cond.find(one.stated, dates=problem.kind == "date")
            masked = [(c, cond.mask(one.stated, c)) for c in spans]
            masked = masked[: settings.max_conditions or None]
        if settings.conditions == "first":
            masked = masked[:1]
        elif settings.conditions == "random" and masked:
            masked = [random.Random(f"{settings.seed}/{problem.id}").choice(masked)]
    one.mode = kind if masked or kind != "cmv" else "tfv_fallback"
    one.conditions = [c for c, _ in masked]
    contexts = [text for _, text in masked] or [one.stated or problem.question]
    asks = words.asks(one.mode)
    one.asked = [
        [words.statement_of(context, conclusion, asks) for context in contexts]
        for conclusion in one.conclusions
    ]
    shown = _shown(one, settings)
    out = []
    for c, texts in enumerate(one.asked):
        for r, text in enumerate(texts):
            request = GenRequest(
                words.ask(text, shown, settings.chat), settings.p or 1, settings.max_new_tokens,
                settings.t_backward, stop=() if settings.chat else ("\n\n",),
                seed=settings.seed, stage="backward",
            )  # fmt: skip
            out.append((c, r, request))
    return out


def _shown(one: Verified, settings: Settings) -> list[words.Exemplar]:
    return words.exemplars(
        one.problem.dataset, words.asks(one.mode), shots=settings.shots, seed=settings.seed,
        equations=settings.equation_style,
    )  # fmt: skip


def _hit(one: Verified, condition: int, text: str, settings: Settings) -> int:
    kind = words.asks(one.mode)
    reply = extract(text, words.REPLIES[kind], style=settings.extraction)
    if kind == "cmv":
        return int(same(reply, one.conditions[condition].value))
    return int(same(reply, words.AFFIRMED[kind]))
