"""Multiple choice by log-probability: options are read, nothing is decoded or parsed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from workbench.arguments import finite, listed, shown, truth, whole
from workbench.errors import ModelError
from workbench.generation.reply_logprobs import logprobs_of_ends
from workbench.generation.scoring import score
from workbench.models.model import Model
from workbench.models.prompts import Encoded, Prompt, encode_all, require_fit
from workbench.models.token_ids import ids_of, require_text

_TAIL = 64
"""Characters before an option that may change how it is split into tokens."""


def option_logprobs(
    model: Model,
    prompts: Sequence[Prompt],
    options: Sequence[str],
    *,
    per_token: bool = False,
    batch_size: int | None = None,
) -> torch.Tensor:
    """float32 `[prompt, option]`: log-probability, in nats, that each option comes next.

    A prompt is a plain string or chat messages; a chat that ends in an assistant message is a reply
    begun (`"Option ("`), and its continuation is scored. One forward for each prompt, or for each
    option of each where one has several tokens; what they begin with alike is computed once. Inside
    `steer` the model is steered, per prompt where alphas are. `batch_size` caps rows per batch.

    The log-probabilities are over the whole vocabulary: where `exp().sum(-1)` is far below 1 the
    model would write something else here, and the reply should be begun differently. Options are
    scored as they are written, or all with a space before them where only so each is one token:
    write the space of options of several tokens (" Accept"). An option's tokens are added up, or
    averaged with `per_token`. What follows it is left open: "1" holds the probability of "10" where
    that is "1" and a token more.

    Raises, before any forward, `ModelError` for options that are not tokens of their own (see
    `option_ids`) or a prompt that cannot be encoded; `DatasetError` for what is no prompt, of which
    `ContextLengthError` for one that is too long with an option; `ValueError` for one string in
    place of a list, no options, or a batch size below 1. Then `GenerationError` for logits that are
    not finite, naming the prompt, and `MemoryError` for a prompt that does not fit by itself.

    >>> logprobs = wb.option_logprobs(model, ["Is a whale a fish? Answer:"], [" Yes", " No"])
    >>> logprobs.exp()  # [prompt, option]
    """
    truth("per_token", per_token)
    options = listed("options", options)
    encoded, ids = _asked(model, prompts, options)
    if all(len(tokens) == 1 for of_prompt in ids for tokens in of_prompt):
        return scored(model, _questions(encoded, ids, len(options)), batch_size=batch_size)
    places = [(i, k) for k in range(len(options)) for i in range(len(encoded))]
    texts = [replace(encoded[i], ids=encoded[i].ids + ids[i][k]) for i, k in places]
    counts = [len(ids[i][k]) for i, k in places]
    names = [f"prompt {i} with {options[k]!r}" for i, k in places]
    for (i, _), text, name in zip(places, texts, names, strict=True):
        require_fit(model, text.ids, name, i)
    results: list[torch.Tensor] = []
    # Alphas are one for each prompt: a call then has every prompt once.
    size = len(encoded) if model.per_prompt else len(places)
    for at in range(0, len(places), size):
        some = slice(at, at + size)
        results += logprobs_of_ends(
            model, texts[some], counts[some], names[some], batch_size=batch_size
        )
    totals = [of_tokens.mean() if per_token else of_tokens.sum() for of_tokens in results]
    return torch.stack(totals).view(len(options), -1).T.contiguous()


@dataclass(frozen=True)
class Questions:
    """Prompts and their options of one token, encoded once and scored often.

    `options`: int64 `[prompt, option]`.
    """

    encoded: list[Encoded]
    options: torch.Tensor


def ask(model: Model, prompts: Sequence[Prompt], options: Sequence[str]) -> Questions:
    """Encode prompts and options of one token each.

    Raises as `option_logprobs` before its forwards, and `ModelError` for an option of several.
    """
    encoded, ids = _asked(model, prompts, options)
    for of_prompt in ids:
        for option, tokens in zip(options, of_prompt, strict=True):
            if len(tokens) > 1:
                raise ModelError(
                    f"{model.name}: {option!r} is the tokens {tokens}, and has to be one here; use "
                    "other options (letters, digits)"
                )
    return _questions(encoded, ids, len(options))


def token_logprobs(model: Model, prompts: Sequence[Prompt], ids: Sequence[int]) -> torch.Tensor:
    """float32 `[prompt, id]`: log-probability of each token id as the next token of each prompt.

    As `option_logprobs`, for tokens that are known and the same after every prompt.
    """
    ids = [whole("ids", i, 0, model.n_tokens - 1) for i in listed("ids", ids)]
    prompts = listed("prompts", prompts, empty=True)
    options = torch.tensor(ids).expand(len(prompts), -1)
    return scored(model, Questions(encode_all(model, prompts), options))


def scored(model: Model, questions: Questions, *, batch_size: int | None = None) -> torch.Tensor:
    """float32 `[prompt, option]`: `option_logprobs` of questions, under the steering of now."""
    encoded, ids = questions.encoded, questions.options

    def scores(rows: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        total = logits.logsumexp(1, keepdim=True)
        # Where a logit is infinite, others would come out as impossible.
        total = total.where(total.isfinite(), torch.nan)
        return (logits.gather(1, ids[rows].to(logits.device)) - total).cpu()

    names = [f"prompt {i}" for i in range(len(encoded))]
    rows = score(model, encoded, names, scores, batch_size=batch_size)
    return torch.stack(rows) if rows else torch.empty(ids.shape)


def option_ids(model: Model, options: Sequence[str], text: str = "") -> list[list[int]]:
    """The tokens that each option is right after `text` (a reply begun, or nothing).

    Tokenised together, since tokens may merge with what precedes them: `text + option` has to be
    the tokens of `text` and more. Unless every option is one token then, all are tried with a space
    before them (not where the text ends in one), and taken so if each is one token.

    Raises `ModelError`, with the tokens of each option, where they are not tokens of their own, two
    are the same or one is unknown; `DatasetError` for half of a surrogate pair.
    """
    require_text(f"options={list(options)!a}", *options)
    forms = [list(options)]
    # A second space is written by nobody, and one alone is no option.
    if not text[-1:].isspace() and all(options):
        forms.append([f" {option}" for option in options])
    texts = [text, *(text + option for form in forms for option in form)]
    before, *after = ids_of(model.tokenizer, texts)
    n, unknown = len(before), model.tokenizer.unk_token_id
    count = len(options)
    tokenised = [after[k * count : (k + 1) * count] for k in range(len(forms))]
    ways = [[row[n:] for row in rows if row[:n] == before and len(row) > n] for rows in tokenised]
    told_apart = [
        ids for ids in ways
        if len(ids) == len(set(map(tuple, ids))) == count and not any(unknown in row for row in ids)
    ]  # fmt: skip
    for ids in told_apart:
        if all(len(row) == 1 for row in ids):
            return ids
    if ways[0] in told_apart:
        return ways[0]
    descriptions = []
    for option, row in zip(forms[0], tokenised[0], strict=True):
        same = next((k for k, (a, b) in enumerate(zip(before, row, strict=False)) if a != b), n)
        merged = f" in place of {before[same:]}" if same < n else ""
        descriptions.append(f"{option!r} {row[same:]}{merged}")
    raise ModelError(
        f"{model.name}: after {text[-20:]!r} the options are not tokens of their own, all "
        f"different; token ids: {'; '.join(descriptions)}. Use other options "
        "(letters, digits), end the text elsewhere (before its last space, say), or let the model "
        "generate and parse what it writes."
    )


def normalised(logprobs: torch.Tensor) -> torch.Tensor:
    """Probabilities among the options alone, `[..., option]`, adding up to 1."""
    return logprobs.softmax(-1)


def expected(logprobs: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    """Mean of the options' values `[...]`, weighted by the probabilities among the options.

    Raises `ValueError` where there is not one finite value for each option.
    """
    values = [finite("values", value) for value in listed("values", values)]
    if len(values) != logprobs.shape[-1]:
        raise ValueError(f"{len(values)} values for {logprobs.shape[-1]} options")
    return normalised(logprobs) @ torch.tensor(values).to(logprobs)


def entropy(chosen: torch.Tensor | Sequence[int]) -> float:
    """Bits in which option was chosen, over all choices: 0 where it is always the same.

    `chosen`: int, any shape, say `option_logprobs(...).argmax(-1)`. Raises `ValueError` for none.
    """
    counts = torch.as_tensor(chosen).unique(return_counts=True)[1].tolist()
    if not counts:
        raise ValueError("there are no choices to take the entropy of")
    return sum(c / sum(counts) * math.log2(sum(counts) / c) for c in counts)


def _questions(encoded: list[Encoded], ids: list[list[list[int]]], count: int) -> Questions:
    options = torch.tensor(ids, dtype=torch.long).view(len(encoded), count)
    return Questions(encoded, options)


def _asked(
    model: Model, prompts: Sequence[Prompt], options: Sequence[str]
) -> tuple[list[Encoded], list[list[list[int]]]]:
    """Prompts, and tokens `[prompt][option]`, worked out once for every different end of one."""
    prompts, options = listed("prompts", prompts, empty=True), listed("options", options)
    if not all(isinstance(option, str) for option in options):
        raise ValueError(f"options={shown(options)}: they must be strings")
    encoded = encode_all(model, prompts)
    ids_after: dict[tuple[str, str], list[list[int]]] = {}
    last_tokens: dict[str, list[int]] = {}
    ids_of_prompts = []
    added = list(model.tokenizer.get_added_vocab())
    for prompt, tokens in zip(prompts, encoded, strict=True):
        text = _written(prompt) or tokens.text
        tail = text[-_TAIL:]
        # Nothing before an added token changes what is behind it.
        tail = tail[max([0, *(tail.rfind(token) for token in added if token)]) :]
        if tail not in last_tokens:
            last_tokens[tail] = ids_of(model.tokenizer, [tail])[0][-1:]
        # An end that reads differently by itself says nothing about options behind it.
        alike = last_tokens[tail] == tokens.ids[-1:]
        key = (tail if alike else tokens.text, tokens.gap)
        if key not in ids_after:
            ids_after[key] = option_ids(model, [key[1] + option for option in options], key[0])
        ids_of_prompts.append(ids_after[key])
    return encoded, ids_of_prompts


def _written(prompt: Prompt) -> str:
    """The text that an option continues: the prompt, or the reply that its chat ends in."""
    if isinstance(prompt, str):
        return prompt
    return prompt[-1]["content"] if prompt[-1]["role"] == "assistant" else ""
