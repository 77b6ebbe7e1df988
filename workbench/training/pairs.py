"""Preference pairs, tokenised as TRL tokenises them."""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator
from typing import Any

from datasets import Dataset
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workbench.arguments import whole
from workbench.errors import ModelError, PairError
from workbench.hashing import digest, pieces_digest
from workbench.models.pair_shapes import shown
from workbench.models.token_ids import around, end_token
from workbench.reading import parse_json
from workbench.training.pair_sets import ANSWERS, Pairs, Rows, checked

log = logging.getLogger(__name__)

IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
"""Columns of tokenised pairs, as TRL names them."""
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '\n<|user|>\n' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}"
    "{{ '\n<|assistant|>\n' + m['content'] + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('this format has no role ' + m['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|assistant|>\n' }}{% endif %}"
)
"""The released text format (§3), for base models without a template of their own."""
_TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError)
"""What a chat template raises on messages that it was not written for."""


def require_template(tokenizer: PreTrainedTokenizerBase, example: dict[str, Any]) -> None:
    """`PairError` for conversations and a tokenizer that has no template for them.

    `ModelError` for texts and a tokenizer that has no token to end them with, or appends one to
    every text, behind the one that TRL puts there.
    """
    if not isinstance(example.get("chosen"), list):
        end_token(tokenizer)
        if appended := around(tokenizer)[1]:
            raise ModelError(
                f"the tokenizer appends {tokenizer.convert_ids_to_tokens(appended)} to every text, "
                "and each answer would be trained to end twice: set its add_eos_token=False or its "
                "post_processor, or give conversations instead of texts"
            )
    if isinstance(example.get("chosen"), list) and not tokenizer.chat_template:
        raise PairError(
            "the pairs are conversations and the tokenizer has no chat template: set "
            "tokenizer.chat_template = workbench.training.pairs.CHAT_TEMPLATE (the released "
            "format), or one of your own"
        )


def tokenised(
    dataset: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int | None, name: str = "test"
) -> list[dict[str, list[int]]]:
    """Token ids of pairs, as `trl.DPOTrainer` trains on them: no trainer, no model.

    Rows of `prompt_ids`, `chosen_ids`, `rejected_ids`; an answer ends at `max_length` tokens of
    prompt and answer (TRL's `keep_start`), and pairs that `usable` drops are left out. Raises
    `PairError` as `checked`, where no pair is left, for conversations without a chat template, and
    for a row that the template refuses.

    >>> rows = tokenised(pairs, tokenizer, max_length=1024)
    """
    from trl.data_utils import common_prefix_length

    dataset = checked(dataset, name)
    require_template(tokenizer, dataset[0])
    limit = (
        sys.maxsize if max_length is None else whole("max_length", max_length, 1, error=PairError)
    )
    rows: dict[str, list[list[int]]] = {column: [] for column in IDS}
    for number, pair in enumerate(dataset):
        prompt, chosen, rejected = _token_ids(pair, tokenizer, f"{name}, row {number}")
        # Where a token spans the boundary, or the template writes the prompt otherwise before an
        # answer, the answer begins where the two differ.
        start = min(common_prefix_length(prompt, text) for text in (chosen, rejected))
        if start < limit:
            rows["prompt_ids"].append(prompt[:start])
            rows["chosen_ids"].append(chosen[start:limit])
            rows["rejected_ids"].append(rejected[start:limit])
    return usable(Dataset.from_dict(rows), name, len(dataset), max_length).to_list()


@contextlib.contextmanager
def rows_named(dataset: Pairs, tokenizer: PreTrainedTokenizerBase, name: str) -> Iterator[None]:
    """A block that tokenises checked pairs; its errors become `tokenised`'s, which name the row."""
    try:
        yield
    except _TEMPLATE_FAULTS:
        for number, pair in enumerate(dataset):
            _token_ids(pair, tokenizer, f"{name}, row {number}")
        raise


def usable(dataset: Dataset, name: str, before: int, max_length: int | None) -> Dataset:
    """Tokenised pairs less those of which an answer has no token left; numbers are logged.

    `before`: how many there were before TRL took out those whose prompt alone fills `max_length`.
    """
    if len(dataset) < before:
        log.warning(
            "%s: %d pairs dropped, their prompt alone fills max_length=%s",
            name, before - len(dataset), max_length,
        )  # fmt: skip
    answers = zip(dataset["chosen_ids"], dataset["rejected_ids"], strict=True)
    keep = [i for i, (a, b) in enumerate(answers) if a and b]
    if not keep:
        raise PairError(f"{name}: no pair is left; raise max_length={max_length}")
    if len(keep) < len(dataset):
        log.warning("%s: %d pairs dropped, an answer has no token", name, len(dataset) - len(keep))
        dataset = dataset.select(keep)
    return dataset


def _token_ids(
    pair: dict[str, Any], tokenizer: PreTrainedTokenizerBase, place: str
) -> list[list[int]]:
    """Token ids of the prompt, of prompt and chosen answer, of prompt and rejected answer."""
    prompt = pair["prompt"]
    if isinstance(prompt, str):
        ends = [a if a.endswith(tokenizer.eos_token) else a + tokenizer.eos_token
                for a in (pair[answer] for answer in ANSWERS)]  # fmt: skip
        return [tokenizer(text)["input_ids"] for text in (prompt, *(prompt + e for e in ends))]
    tools = pair.get("tools")
    template = functools.partial(
        tokenizer.apply_chat_template, tokenize=True, return_dict=True,
        tools=parse_json(tools, f"{place}: tools", PairError) if isinstance(tools, str) else tools,
        **(pair.get("chat_template_kwargs") or {}),
    )  # fmt: skip
    try:
        chats = [template(prompt, add_generation_prompt=True)]
        chats += [template(prompt + pair[answer]) for answer in ANSWERS]
    except _TEMPLATE_FAULTS as error:
        raise PairError(
            f"{place}: the chat template refuses it: {error}. The row: {shown(pair)}"
        ) from error
    return [chat["input_ids"] for chat in chats]


def rows_digest(dataset: Dataset) -> str:
    """16 hex digits of the rows' content, wherever they come from."""
    return pieces_digest((digest(repr(sorted(row.items()))).encode() for row in dataset), 16)
