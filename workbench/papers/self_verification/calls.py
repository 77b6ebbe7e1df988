"""What a run asks of its model, counted: samples of each stage, and the seconds one may take."""

from collections.abc import Mapping

from workbench.data.problems import Problem
from workbench.generation.fitting import CPU_ROWS
from workbench.generation.local import LocalBackend
from workbench.generation.requests import Backend
from workbench.papers.estimate import Part, pace, read_once
from workbench.papers.self_verification import conditions, prompts
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.presets import Problems

DIFFERENT = 0.6
"""Share of a question's k answers that are taken to differ; of a weak model's nearly all do."""
LEFT_OUT = (
    f"about half a minute of loading, tables and figures. Of k answers {DIFFERENT:.0%} are taken "
    "to differ; where all do, verification and voting at its cost take up to 1.7 times as long"
)


def parts(
    model: Backend,
    problems: Problems,
    settings: Settings,
    stages: Mapping[str, tuple[Backend, Problems]] | None = None,
) -> list[Part]:
    """The samples of a whole run, stages of training included, at the model's pace.

    Of a server calls and tokens alone. Raises `ContextLengthError` for a question that leaves no
    room for its answer.
    """
    sets = [problems, *(rows for _, rows in (stages or {}).values())]
    asked = [p for by_seed in sets for rows in by_seed.values() for p in rows]
    # Where masks verify, true or false is a variant; elsewhere it is what was counted already.
    varied = [p for rows in problems.values() for p in rows if _kind(p, settings) == "cmv"]
    local = model.model if isinstance(model, LocalBackend) else None
    new, chat = settings.max_new_tokens, settings.chat
    texts = [prompts.question_prompt(p.text, [], chat) for p in asked]
    speed = pace(local, texts, new) if local else None
    read = read_once(local, texts) / len(texts) if local else 0.0
    masks = [_masks(p, settings) for p in asked]
    # Without heat all samples of a prompt are one, which is drawn once.
    p = settings.p if settings.t_backward else 1
    contested = settings.k > 1 and settings.t_forward > 0
    candidates = max(1.0, DIFFERENT * settings.k) if contested else 0.0
    of_each = [candidates * count * p for count in masks]
    votes = sum(
        max(settings.k, settings.sc, round(settings.k + n)) if settings.t_forward else 0
        for n in of_each
    )

    def part(what: str, samples: float, prompts_read: float) -> Part:
        count = round(samples)
        if speed is None:
            return Part(what, count, None, new)
        # All of a seed's are asked for together.
        rows = max(1, min(CPU_ROWS, count // sum(map(len, sets))))
        decoding = speed.replies(rows, 0, new) / rows
        return Part(what, count, decoding + speed.reads(read) * prompts_read / max(1, count), new)

    n = len(asked)
    return [
        part("greedy answers and conclusions", 2 * n, 2 * n),
        part("samples to vote among, as many tokens as verification takes", votes, 2 * n),
        part("samples of conditions masked, or of conclusions judged", sum(of_each),
             candidates * sum(masks)),
        part("more of them for the two most frequent answers", sum(of_each) / 4, sum(masks) / 2),
        part("samples of true or false", candidates * p * len(varied),
             candidates * len(varied)),
    ]  # fmt: skip


def _kind(problem: Problem, settings: Settings) -> str:
    kind = settings.verification
    return prompts.verification_kind(problem.dataset) if kind == "auto" else kind


def _masks(problem: Problem, settings: Settings) -> int:
    """How many prompts verify one of its candidates."""
    if _kind(problem, settings) != "cmv" or settings.conditions != "all":
        return 1
    stated, _ = conditions.statement(problem)
    found = len(conditions.find(stated, dates=problem.kind == "date"))
    return max(1, min(found, settings.max_conditions or found))
