"""What is asked of a model and what comes back: requests, samples, their identity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.arguments import finite, listed, seed_number, whole
from workbench.hashing import canonical, digest
from workbench.models.prompts import Prompt

SCHEMA = 1
"""Version of a sample's identity; part of every key."""

REQUEST_FIELDS = frozenset(
    "schema chat rendered rule max_new_tokens temperature top_p top_k stop seed".split()
)
"""Names in `parameters` that come from request or rule; the others identify the model."""


@dataclass(frozen=True)
class GenRequest:
    """`n` completions of one prompt (text as it is, or chat messages).

    `temperature` 0 is greedy: seed and sample index then do not count, and one sample serves all
    `n`. `top_p` 1 and `top_k` 0 do not truncate. A completion is cut before the first of `stop`,
    text or one special token (a server sees only text); white space it begins with cannot stop it.
    `stage` labels the samples in the store; neither it nor `meta` is part of their identity.

    Raises `ValueError` for a number out of range.

    >>> request = wb.GenRequest("Once upon a time", n=4, temperature=0.7, seed=1)
    >>> wb.complete(model, [request])[0].texts
    """

    prompt: Prompt
    n: int = 1
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0
    stage: str = ""
    meta: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checked = {
            "n": whole("n", self.n, 1),
            "max_new_tokens": whole("max_new_tokens", self.max_new_tokens, 1),
            "temperature": finite("temperature", self.temperature, 0),
            "top_p": finite("top_p", self.top_p, above=0, most=1),
            "top_k": whole("top_k", self.top_k, 0),
            "seed": seed_number(self.seed),
            "stop": tuple(listed("stop", self.stop, empty=True)),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if not all(stop and isinstance(stop, str) for stop in self.stop):
            raise ValueError(f"stop={self.stop!r}: it must be a tuple of non-empty strings")

    @property
    def draws(self) -> int:
        """How many different samples this takes: 1 where greedy, else n."""
        return 1 if self.temperature == 0 else self.n


@dataclass(frozen=True)
class Sample:
    """One completion: text without special tokens, cut before the stop string.

    `finish_reason` is `"stop"`, `"eos"` or `"length"`; `n_tokens` counts what was decoded, the
    end or stop token included. `cached`: read from a store, not made by this call.
    """

    text: str
    finish_reason: str
    n_tokens: int
    prompt_tokens: int
    cached: bool = False


@dataclass(frozen=True)
class GenResult:
    """The samples of one request, in order of their index.

    >>> (result,) = wb.complete(model, [wb.GenRequest("Once upon a time")])
    >>> result.texts, result.samples[0].finish_reason
    """

    samples: tuple[Sample, ...]

    @property
    def texts(self) -> list[str]:
        """The samples' texts."""
        return [s.text for s in self.samples]


Drawn = tuple[int, int, Sample]
"""(place of the request in the caller's list, sample index, sample)."""


class Backend(Protocol):
    """Something that completes prompts: a local model, a server, or a store in their place.

    `name`: what tables call the model. `device`: where it computes, `"cpu"` or a URL, say.
    `by_place`: whether a request's place in the list matters to its samples.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def by_place(self) -> bool: ...

    def identity(self) -> dict[str, str]:
        """What a sample depends on besides the request: model, weights, dtype, tokenizer."""
        ...

    def check(self, requests: Sequence[GenRequest]) -> None:
        """Raise for a request that can never be completed, before any work."""
        ...

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        """Complete the sample indices `missing[i]` of every request; yield whatever is finished.

        What was yielded is kept even if a later step raises `GenerationError`.
        """
        ...


def prompt_text(prompt: Prompt) -> str:
    """A prompt as one string: itself, or its messages as canonical JSON."""
    return prompt if isinstance(prompt, str) else canonical([dict(m) for m in prompt])


def prompt_key(prompt: Prompt) -> str:
    """What tells prompts apart: their text, and whether it is a chat's."""
    return f"{isinstance(prompt, str)}{prompt_text(prompt)}"


def parameters(request: GenRequest, identity: dict[str, str]) -> dict[str, Any]:
    """All that a sample's text depends on, but for the prompt and the sample index."""
    greedy = request.temperature == 0
    return {
        "schema": SCHEMA,
        "chat": not isinstance(request.prompt, str),
        **identity,
        "max_new_tokens": request.max_new_tokens,
        "temperature": 0.0 if greedy else float(request.temperature),
        "top_p": 1.0 if greedy else float(request.top_p),
        "top_k": 0 if greedy else request.top_k,
        "stop": list(request.stop),
        "seed": 0 if greedy else request.seed,
    }


def sample_key(parameters_json: str, prompt_sha: str, index: int) -> str:
    """The identity of one sample, SHA-256 as 64 hex digits."""
    return digest(f"{parameters_json}\n{prompt_sha}\n{index}", 64)
