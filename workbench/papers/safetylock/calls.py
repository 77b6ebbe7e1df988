"""What a run asks of its models, counted: each kind of call, and the seconds that one may take."""

from collections.abc import Sequence

from workbench.models.model import Model
from workbench.models.prompts import Prompt, encode_all, messages
from workbench.papers.estimate import BACKWARD, Part, pace, read_once
from workbench.papers.safetylock.align import HARMFUL, HARMLESS
from workbench.papers.safetylock.attack import STOP_TOKENS
from workbench.papers.safetylock.costs import TOKENS
from workbench.papers.safetylock.evaluate import take
from workbench.papers.safetylock.leverage import COUNT, harmful_chats
from workbench.papers.safetylock.lock import CONTROLS, answered
from workbench.papers.safetylock.paper import Recipe, Settings
from workbench.papers.safetylock.presets import BENIGN_STEPS, PERSONA_STEPS, Inputs
from workbench.papers.safetylock.rows import DRAWN, FIXED

USUAL_STEPS = 25
"""Steps until an attack of level 1 has gone far enough; a look at replies follows each."""

PLAIN = 1.5
"""How much longer plain transformers decodes one row, by which the lock's cost is timed."""
LEFT_OUT = (
    "probes, checkpoints written and read again, about half a minute of loading, tables and figures"
)


def parts(inputs: Inputs, settings: Settings, seeds: Sequence[int]) -> list[Part]:
    """The calls of a whole run in which level 1 alone breaks refusals, at the base model's pace.

    Where other levels do, too, they are tested at every dose as well. Raises
    `ContextLengthError` for a request that leaves no room for its reply.
    """
    base, new = inputs.base, settings.max_new_tokens
    validation, test = ([messages(row["prompt"]) for row in rows]
                        for rows in (inputs.validation, inputs.test))  # fmt: skip
    harmful = harmful_chats(inputs.validation)
    speed = pace(base, [*test, *validation], new)
    made = 0 if inputs.finetuned else len(seeds)
    attacks, of_level_one = (len(settings.levels) * made, made) if made else (1, 1)
    usual = min(USUAL_STEPS, settings.attack.max_steps)
    ten = made * (usual + PERSONA_STEPS * (2 in settings.levels))
    doses = len(set(settings.alphas))
    rankings = len(settings.selections) * len(settings.r_grid) * len(settings.heads_grid)
    # Where they fit, the doses of a lock are one call of so many times the rows.
    times = doses if doses * len(validation) <= (settings.batch or 0) else 1
    trials = 1 + doses // times * (1 if inputs.lock else rankings)
    heads = len(inputs.lock) if inputs.lock else max(settings.heads_grid)
    ranked = 0 if inputs.lock or "leverage" not in settings.selections else len(settings.r_grid)
    answers = _tokens(base, answered(inputs.pairs))
    answer = answers / (2 * len(inputs.pairs))
    align = settings.align if made else None
    chats = _tokens(base, harmful_chats(inputs.train)[:COUNT])
    # To first order a backward takes the place of a forward for each head.
    ranking = speed.trains(chats) if settings.gradient else speed.reads(chats)
    per_ranking = 1 if settings.gradient else base.n_layers * base.n_heads + 1
    shown = [messages(row["prompt"]) for row in take(inputs.test, settings.controlled)]

    def replies(prompts: Sequence[Prompt], most: int, times: int = 1) -> float:
        return speed.replies(times * len(prompts), times * read_once(base, prompts), most)

    def training(rows: int, recipe: Recipe) -> float:
        """Seconds of a step on so many rows; what is frozen has no backward."""
        asked = _tokens(base, test) / len(test)
        learned = max(0.0, answer - asked)
        length = asked + min(learned, recipe.answer_tokens or learned)
        return speed.reads(rows * length) * (1 + BACKWARD * (1 - recipe.frozen))

    tests = 1 + attacks + of_level_one * doses
    return [
        Part(f"{len(validation) * times} replies to choose heads and alpha by",
             of_level_one * trials, replies(validation, new, times)),
        Part(f"{len(test)} replies to test every attack, level 1 at every dose", tests,
             replies(test, new)),
        Part(f"{len(shown)} replies under a control lock",
             of_level_one * len(CONTROLS) * settings.draws, replies(shown, new)),
        Part("training steps to teach refusals", align.max_steps if align else 0,
             training(HARMFUL + HARMLESS, align) if align else 0.0),
        Part("training steps of ten rows", ten, training(FIXED, settings.attack)),
        Part(f"training steps of {DRAWN} rows", made * BENIGN_STEPS * (3 in settings.levels),
             training(DRAWN, settings.attack)),
        Part("looks whether an attack has gone far enough", made * usual // settings.attack.look,
             replies(harmful, STOP_TOKENS)),
        Part("forwards to rank heads by", 2 * ranked * per_ranking, ranking),
        Part("forwards with one head of the lock", heads + 1, speed.reads(_tokens(base, harmful))),
        Part("captures of all pairs", len(settings.r_grid) + attacks, speed.reads(answers)),
        Part(f"decodings of {TOKENS} tokens, timed", 2 * settings.repeats + 1,
             PLAIN * speed.replies(1, 0, TOKENS)),
    ]  # fmt: skip


def _tokens(model: Model, prompts: Sequence[Prompt]) -> int:
    return sum(len(encoded.ids) for encoded in encode_all(model, prompts))
