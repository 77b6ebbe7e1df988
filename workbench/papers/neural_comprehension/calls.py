"""What a run asks of its model, counted: replies of each stage, and the seconds one may take."""

from collections.abc import Mapping, Sequence

from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.model import Model
from workbench.papers.estimate import Part, pace, read_once
from workbench.papers.neural_comprehension import prompts
from workbench.papers.neural_comprehension.paper import Settings
from workbench.papers.neural_comprehension.study import SLACK, inputs
from workbench.worlds.pens import Story

LEFT_OUT = "stages of training, the networks themselves, loading, and about half a minute of tables"


def parts(
    model: Model, settings: Settings, words: Mapping[str, Mapping[int, Sequence[Story]]]
) -> list[Part]:
    """The replies of a whole run at the model's pace.

    Raises `ContextLengthError` for an input that leaves no room for its answer.
    """
    asked = {
        (task, length): [prompts.put(task, each, settings.shots)
                         for each in inputs(task, length, settings)]
        for task in settings.tasks for length in settings.sizes(task)[0]
    }  # fmt: skip
    stories = [story for sizes in words.values() for told in sizes.values() for story in told]
    longest = max(asked, key=lambda key: key[1])
    speed = pace(model, asked[longest], longest[1] + SLACK)
    told = [prompts.story_prompt(story.text, settings.shots) for story in stories]
    LocalBackend(model).check([GenRequest(p, max_new_tokens=settings.max_new_tokens) for p in told])
    out = []
    for task in settings.tasks:
        calls, seconds = 0, 0.0
        for length in settings.sizes(task)[0]:
            rows = asked[task, length]
            tokens = read_once(model, rows)
            modes = 2 + min(settings.observed, len(rows)) / len(rows)
            calls += round(modes * len(rows))
            seconds += modes * speed.replies(len(rows), tokens, length + SLACK)
        out.append(Part(f"replies to {task}", calls, seconds / calls))
    modes = 3 if settings.shots else 2
    seconds = modes * speed.replies(len(told), read_once(model, told), settings.max_new_tokens)
    calls = modes * len(told)
    return [*out, Part("replies to word problems", calls, seconds / calls)]
