"""Preference pairs: checked before any model is loaded, and tokenised as TRL tokenises them."""

import functools
import logging
import sys
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from workbench.errors import PairError
from workbench.hashing import digest, pieces_digest
from workbench.models.token_ids import end_token
from workbench.reading import parse_json

log = logging.getLogger(__name__)

ANSWERS = ("chosen", "rejected")
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
"""Columns of tokenised pairs, as TRL names them."""
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '\n<|user|>\n' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}"
    "{{ '\n<|assistant|>\n' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|assistant|>\n' }}{% endif %}"
)
"""The released text format (§3), for base models without a template of their own."""


Pairs = Dataset | IterableDataset


def checked(
    dataset: Pairs | dict[str, Pairs], name: str, *, drop_identical: bool = False
) -> Pairs | dict[str, Pairs]:
    """The pairs (or sets of them) in a form TRL takes, or `PairError` naming columns or row.

    A text `prompt` next to message-list answers becomes a conversation. Counts answers that are
    empty or the same in a warning. Of an `IterableDataset` only the columns are looked at.
    """
    if isinstance(dataset, dict):
        return {k: checked(v, k, drop_identical=drop_identical) for k, v in dataset.items()}
    if isinstance(dataset, IterableDataset):
        columns = list(next(iter(dataset), {}))
    else:
        columns = dataset.column_names
        if not len(dataset):
            raise PairError(f"{name}: no pairs")
    missing = [c for c in ANSWERS if c not in columns]
    if missing:
        raise PairError(
            f"{name}: needs columns chosen and rejected, and prompt unless the answers begin with "
            f"it; found {', '.join(columns) or 'none'}; missing {', '.join(missing)}"
        )
    if isinstance(dataset, IterableDataset):
        return dataset
    dataset = _as_conversation(dataset, name)
    empty, same = [], []
    for row, (chosen, rejected) in enumerate(
        zip(dataset["chosen"], dataset["rejected"], strict=True)
    ):
        texts = [_text(a, name, row, c) for c, a in zip(ANSWERS, (chosen, rejected), strict=True)]
        if not any(texts):
            raise PairError(f"{name}, row {row}: both answers are empty; remove the pair")
        if not all(texts):
            empty.append(row)
        if texts[0] == texts[1]:
            same.append(row)
    if "prompt" in columns:
        for row, prompt in enumerate(dataset["prompt"]):
            if prompt is None:
                raise PairError(f"{name}, row {row}: prompt is None")
    if empty:
        log.warning("%s: %d pairs with an empty answer (first: row %d)", name, len(empty), empty[0])
    if same:
        log.warning(
            "%s: %d of %d pairs (%.1f %%) have identical answers and no signal (first: row %d)%s",
            name, len(same), len(dataset), 100 * len(same) / len(dataset), same[0],
            "; dropped" if drop_identical else "; drop_identical=True drops them",
        )  # fmt: skip
        if drop_identical:
            dataset = dataset.select(sorted(set(range(len(dataset))) - set(same)))
            if not len(dataset):
                raise PairError(f"{name}: all pairs have identical answers")
    return dataset


def require_template(tokenizer: PreTrainedTokenizerBase, example: dict[str, Any]) -> None:
    """`PairError` for conversations and a tokenizer that has no template for them.

    `ModelError` for texts and a tokenizer that has no token to end them with.
    """
    if not isinstance(example.get("chosen"), list):
        end_token(tokenizer)
    if isinstance(example.get("chosen"), list) and not tokenizer.chat_template:
        raise PairError(
            "the pairs are conversations and the tokenizer has no chat template: set "
            "tokenizer.chat_template = workbench.training.pairs.CHAT_TEMPLATE (the released "
            "format), or one of your own"
        )


def tokenised(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int | None, name: str = "test"
) -> list[dict[str, list[int]]]:
    """Token ids of checked pairs, as `trl.DPOTrainer` trains on them: no trainer, no model.

    Rows of `prompt_ids`, `chosen_ids`, `rejected_ids`; an answer ends at `max_length` tokens of
    prompt and answer (TRL's `keep_start`), and pairs that `usable` drops are left out. Raises
    `PairError` where no pair is left, or for conversations without a chat template.

    >>> rows = tokenised(checked(pairs, "test"), tokenizer, max_length=1024)
    """
    from trl.data_utils import common_prefix_length

    require_template(tokenizer, dataset[0])
    limit = max_length or sys.maxsize
    rows: dict[str, list[list[int]]] = {column: [] for column in IDS}
    for pair in dataset:
        prompt, chosen, rejected = _token_ids(pair, tokenizer)
        # Where a token spans the boundary, or the template writes the prompt otherwise before an
        # answer, the answer begins where the two differ.
        start = min(common_prefix_length(prompt, text) for text in (chosen, rejected))
        if start < limit:
            rows["prompt_ids"].append(prompt[:start])
            rows["chosen_ids"].append(chosen[start:limit])
            rows["rejected_ids"].append(rejected[start:limit])
    return usable(Dataset.from_dict(rows), name, len(dataset), max_length).to_list()


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


def _token_ids(pair: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of the prompt, of prompt and chosen answer, of prompt and rejected answer."""
    from trl import extract_prompt, is_conversational

    pair = pair if "prompt" in pair else extract_prompt(pair)
    prompt = pair["prompt"]
    if not is_conversational(pair):
        ends = [a if a.endswith(tokenizer.eos_token) else a + tokenizer.eos_token
                for a in (pair[answer] for answer in ANSWERS)]  # fmt: skip
        return [tokenizer(text)["input_ids"] for text in (prompt, *(prompt + e for e in ends))]
    tools = pair.get("tools")
    template = functools.partial(
        tokenizer.apply_chat_template, tokenize=True, return_dict=True,
        tools=parse_json(tools, "tools", PairError) if isinstance(tools, str) else tools,
        **(pair.get("chat_template_kwargs") or {}),
    )  # fmt: skip
    chats = [template(prompt, add_generation_prompt=True)]
    chats += [template(prompt + pair[answer]) for answer in ANSWERS]
    return [chat["input_ids"] for chat in chats]


def _as_conversation(dataset: Dataset, name: str) -> Dataset:
    first = dataset[0]
    if not (isinstance(first.get("prompt"), str) and isinstance(first["chosen"], list)):
        return dataset
    log.warning("%s: text prompts beside message-list answers; made into conversations", name)
    columns = [c for c in dataset.column_names if c not in ("prompt", *ANSWERS)]

    def convert(row: dict[str, Any], index: int) -> dict[str, Any]:
        out = {"prompt": [{"role": "user", "content": row["prompt"]}]}
        for answer in ANSWERS:
            if row[answer] is None:
                raise PairError(f"{name}, row {index}: {answer} is None")
            out[answer] = [m for m in row[answer] if m["role"] == "assistant"][-1:]
        return out

    return dataset.map(convert, with_indices=True, remove_columns=["prompt", *columns])


def _text(answer: Any, name: str, row: int, column: str) -> str:
    """Text of an answer, its assistant turns joined. Raises `PairError` naming row and column."""
    if isinstance(answer, str):
        return answer
    try:
        turns = [(m["role"], m["content"]) for m in answer]
    except (TypeError, KeyError) as error:
        raise PairError(
            f"{name}, row {row}: {column} is {type(answer).__name__} {str(answer)[:40]!r}; it must "
            "be text or a list of messages with role and content"
        ) from error
    if any(not isinstance(content, str) for _, content in turns):
        raise PairError(f"{name}, row {row}: {column} holds a message without text")
    # Conversations may repeat the prompt in both answers; it is the last turns that differ.
    return "\n".join(content for role, content in turns if role == "assistant")


def rows_digest(dataset: Dataset) -> str:
    """16 hex digits of the rows' content, wherever they come from."""
    return pieces_digest((digest(repr(sorted(row.items()))).encode() for row in dataset), 16)
