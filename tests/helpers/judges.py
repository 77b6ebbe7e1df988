"""Model judges as a script says, by the texts that they are shown."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.errors import GenerationError
from workbench.generation.requests import Sample

TAGGED = re.compile(r"<(\w+) ([0-9a-f]{32})>\n(.*?)\n</\1 \2>", re.DOTALL)


@dataclass
class Scripted:
    """A judge that says `answer(texts between tags, repeat)`; after `fails` answers it fails."""

    answer: Callable[[list[str], int], str | tuple[str, str]]
    fails: int = 10**9
    drawn: list = field(default_factory=list)
    by_place: bool = False
    name: str = "scripted"
    device: str = "cpu"

    def identity(self):
        return {"backend": "scripted"}

    def check(self, requests):
        pass

    def draw(self, requests, missing):
        for i, (request, indices) in enumerate(zip(requests, missing, strict=True)):
            (message,) = request.prompt
            texts = [text for *_, text in TAGGED.findall(message["content"])]
            for k in indices:
                if len(self.drawn) == self.fails:
                    raise GenerationError("the judge failed")
                self.drawn.append((*texts, k))
                answer = self.answer(texts, k)
                text, reason = answer if isinstance(answer, tuple) else (answer, "eos")
                yield [(i, k, Sample(text, reason, 3, 2))]


def says(correctness, helpfulness=3):
    return json.dumps({"correctness": correctness, "helpfulness": helpfulness})


def quality(text):
    return int(text.split()[-1])


def wavering(texts, k):
    """One point up or down by the repeat; of the last request the odd repeats are no answer."""
    if texts[0] == "request 4" and k % 2:
        return "I cannot say."
    return says(quality(texts[1]) + (-1) ** k)
