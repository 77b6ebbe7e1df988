"""Conclusions: each candidate and its question as one declarative sentence (§2.2)."""

import re
from collections.abc import Sequence

from workbench.evaluation.answers import PHRASE, same_answer
from workbench.generation.complete import Completer, complete
from workbench.generation.requests import GenRequest
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification import conditions, prompts
from workbench.papers.self_verification.decision import Verified
from workbench.papers.self_verification.paper import Settings


def conclude(
    model: Completer, solved: Sequence[Verified], settings: Settings, store: SampleStore | None
) -> None:
    """Fill in `stated` and each candidate's declarative sentence.

    The model rewrites the first candidate; the others take its place in that sentence. Where it
    does not occur there, each is rewritten; where that fails, too, question and answer stand
    one after the other.
    """
    asked = {}
    for verified in solved:
        verified.stated, question = conditions.statement(verified.problem)
        if verified.problem.kind == "date":
            when = re.sub(r"^What is the date ?| ?in MM/DD/YYYY\?$", "", question)
            verified.conclusions = [f"{when} is {c}." for c in verified.candidates]
        else:
            asked[id(verified)] = question
    first = [(v, v.candidates[0]) for v in solved if id(v) in asked]
    again: list[tuple[Verified, str]] = []
    for (verified, _), sentence in zip(
        first, _rewritten(model, first, asked, settings, store), strict=True
    ):
        texts = [prompts.answer_text(verified.problem, c) for c in verified.candidates]
        swapped = [swap(sentence, texts[0], text) for text in texts]
        verified.conclusions = [s for s in swapped if s is not None]
        if not verified.conclusions:
            verified.conclusions = [f"{asked[id(verified)]} {PHRASE} {texts[0]}."]
            again += [(verified, c) for c in verified.candidates[1:]]
    for (verified, candidate), sentence in zip(
        again, _rewritten(model, again, asked, settings, store), strict=True
    ):
        text = prompts.answer_text(verified.problem, candidate)
        plain = f"{asked[id(verified)]} {PHRASE} {text}."
        verified.conclusions.append(swap(sentence, text, text) or plain)


def swap(sentence: str, old: str, new: str) -> str | None:
    """The sentence with the last occurrence of answer `old` as a word of its own replaced by `new`.

    Numbers are found by value, so that "1,200" counts as 1200. None where it does not occur.
    """
    spans = [(c.start, c.end) for c in conditions.find(sentence) if same_answer(c.value, old)]
    alone = rf"(?<![\w-])(?<!\d[.,:/]){re.escape(old)}(?!\w|[.,:/]\d)"
    spans = spans or [m.span() for m in re.finditer(alone, sentence, re.IGNORECASE)]
    if not spans:
        return None
    start, end = spans[-1]
    return sentence[:start] + new + sentence[end:]


def _rewritten(
    model: Completer,
    pairs: Sequence[tuple[Verified, str]],
    asked: dict[int, str],
    settings: Settings,
    store: SampleStore | None,
) -> list[str]:
    """The model's sentence for each (question, candidate), on one line."""
    requests = [
        GenRequest(
            prompts.rewrite_prompt(
                asked[id(verified)],
                prompts.answer_text(verified.problem, candidate),
                settings.chat,
            ),
            max_new_tokens=settings.max_new_tokens,
            stop=() if settings.chat else ("\n",),
            stage="rewrite",
        )
        for verified, candidate in pairs
    ]
    completions = complete(model, requests, store=store)
    for (verified, _), completion in zip(pairs, completions, strict=True):
        before = verified.tokens.get("rewrite", 0)
        verified.tokens["rewrite"] = before + completion.samples[0].n_tokens
    return [" ".join(completion.texts[0].split()) for completion in completions]
