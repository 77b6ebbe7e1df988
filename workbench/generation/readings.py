"""How a request is read, where there are other ways: a part of its samples' identity."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.generation.requests import GenRequest, prompt_key
from workbench.generation.stop_strings import stop_tokens
from workbench.hashing import digest
from workbench.models.token_ids import around


def readings(
    tokenizer: Any, requests: Sequence[GenRequest], ids: Mapping[str, list[int]]
) -> list[str | None]:
    """Digest of how each request is read; None where only one way is known.

    Its `ids`, by `prompt_key`, where they are given; end tokens left out behind its text, or a
    first one not put twice; that a reply begun is tokenised behind its chat; stops that are tokens.
    Samples that were kept before requests were read so have another key.

    Raises as `stop_tokens`.
    """
    before, behind = [], []
    if any(isinstance(r.prompt, str) for r in requests):
        before, behind = around(tokenizer)
    spelled = tokenizer.convert_ids_to_tokens(before)[:1]
    tokens = {stops: sorted(stop_tokens(tokenizer, stops)) for stops in {r.stop for r in requests}}
    digests = []
    for request in requests:
        ways: list[Any] = [ids[key]] if (key := prompt_key(request.prompt)) in ids else []
        if not isinstance(request.prompt, str):
            ways += ["reply behind its chat"] * (request.prompt[-1]["role"] == "assistant")
        elif behind or (spelled and request.prompt.startswith(spelled[0])):
            ways.append([before, behind])
        ways += [tokens[request.stop]] if tokens[request.stop] else []
        digests.append(digest(ways[0] if len(ways) == 1 else ways) if ways else None)
    return digests
