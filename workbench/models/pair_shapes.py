"""Preference pairs in the shapes that people publish, as a prompt and two answers.

What both sides share at the start is prompt: whole messages of conversations, the transcript up to
the assistant's turn, a text prompt that both answers repeat, the common words of two texts without
a prompt. Words that two answers to a given prompt happen to share are answer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.errors import PairError
from workbench.files import plain_names
from workbench.models.transcripts import begins_with, taken_off, text_pair
from workbench.models.turns import Message, Side, count_shared, joined, read_side, turns_fault

PROMPTS = (
    "question", "instruction", "query", "input", "history", "context", "conversations",
    "conversation",
)  # fmt: skip
"""Columns that hold the prompt where none is called so."""
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction")
"""Columns that hold a system prompt."""
EXAMPLE = '{"prompt": "Name a colour.", "chosen": "Red.", "rejected": "A cat."}'
Wrong = Callable[[str], PairError]
_LABELS = {
    **dict.fromkeys(("1", "1.0", "true"), "ab"),
    **dict.fromkeys(("0", "0.0", "false"), "ba"),
}
"""Which of SHP's answers is better, and which worse."""


@dataclass(frozen=True)
class Pair:
    """A prompt and two answers: all text, or all lists of messages.

    `repeated`: how many of two text answers begin with the text prompt, which stands in them still;
    `system`: a system prompt beside texts. `settled` ends both.
    """

    prompt: Side
    chosen: Side
    rejected: Side
    repeated: int = 0
    system: str = ""


def read_pairs(
    rows: Iterable[tuple[str, Mapping[str, Any]]], warn: Callable[[str], Any] = lambda text: None
) -> list[Pair]:
    """The pairs of (place, row); `place` is what errors call a row.

    Takes TRL's shapes (with and without `prompt`, text or messages), one message as an answer,
    `from`/`value` messages, a text prompt beside conversations, a column of `SYSTEMS`, one of
    `PROMPTS` (or `instruction` and `input`), transcripts ("Human: … Assistant: …"), and SHP's
    columns. Fields may differ in case.

    `warn` is told of a text prompt that begins one answer alone, which stays. Raises `PairError`
    showing the first row that cannot be understood and naming the others: nothing in common and no
    prompt, a user's turn where an answer should be, answers of two kinds, unknown roles, a prompt
    that both answers repeat in some rows only.
    """
    places, pairs, faults = [], [], []
    for place, row in rows:
        try:
            pairs.append(read_pair(row, place))
            places.append(place)
        except PairError as error:
            faults.append((place, error))
    if faults:
        (_, first), *others = faults
        named = ", ".join(place for place, _ in others[:20])
        raise PairError(f"{first}{f' ({len(others)} more rows: {named})' if others else ''}")
    chat = any(pair.system or not isinstance(pair.prompt, str) for pair in pairs)
    repeated = bool(pairs) and all(pair.repeated == 2 for pair in pairs)
    once = [place for place, pair in zip(places, pairs, strict=True) if pair.repeated == 1]
    if once:
        warn(f"{len(once)} pairs in which one answer begins with the prompt, which stays there "
             f"(first: {once[0]})")  # fmt: skip
    return [settled(p, place, repeated, chat) for place, p in zip(places, pairs, strict=True)]


def read_pair(row: Mapping[str, Any], place: str) -> Pair:
    """One row of `read_pairs`, which `settled` makes like the others."""

    def wrong(fault: str) -> PairError:
        return PairError(f"{place}: {fault}. The row: {shown(row)}. It should look like {EXAMPLE}")

    row = _shp(plain_names(row, place, PairError), wrong)
    if missing := [name for name in ("chosen", "rejected") if row.get(name) is None]:
        fault = "is None" if missing[0] in row else f"is missing{hint(row)}"
        raise wrong(f"{missing[0]} {fault}")
    if pictures := [name for name in ("image", "images") if row.get(name)]:
        raise wrong(f"{pictures[0]} cannot be used: only text is read")
    chosen, rejected = (read_side(row[name], name, wrong) for name in ("chosen", "rejected"))
    system = _system(row, wrong)
    if isinstance(chosen, str) and isinstance(rejected, str):
        prompt = _prompt(row, wrong)
        if isinstance(prompt, str):
            texts = text_pair(prompt, chosen, rejected, wrong)
            repeated = sum(begins_with(answer, prompt) for answer in texts[1:])
            return Pair(*texts, repeated, system.strip() and system)
        chosen, rejected = ([{"role": "assistant", "content": a}] for a in (chosen, rejected))
    elif isinstance(chosen, str) or isinstance(rejected, str):
        raise wrong("one answer is text and the other a list of messages")
    else:
        shared = count_shared(chosen, rejected)
        prompt = _beside(row, chosen[:shared], wrong)
        chosen, rejected = chosen[shared:], rejected[shared:]
    if system.strip():
        prompt = _under(system, prompt, wrong)
    if not any(message["role"] == "user" for message in prompt):
        raise wrong("the two sides share no user's turn at the start, and there is no prompt")
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if fault := turns_fault(answer):
            raise wrong(f"{name} {fault}")
    return Pair(prompt, chosen, rejected)


def settled(pair: Pair, place: str, repeated: bool, chat: bool) -> Pair:
    """A pair like the others of its set.

    `repeated`: all their answers begin with the prompt, which is taken off. `chat`: they are
    conversations. Raises `PairError` for a pair that differs.
    """
    if (pair.repeated == 2) is not repeated:
        raise PairError(
            f"{place}: both answers {'do not ' * repeated}begin with the prompt, unlike those of "
            "other rows: take it off all, or make messages of all where the answers mean it. "
            f"The row: {shown(vars(pair))}. It should look like {EXAMPLE}"
        )
    texts = pair.prompt, pair.chosen, pair.rejected
    if not all(isinstance(text, str) for text in texts):
        return pair
    prompt, chosen, rejected = taken_off(*texts) if repeated else texts
    if not chat:
        return replace(pair, prompt=prompt, chosen=chosen, rejected=rejected, repeated=0)
    chosen, rejected = ([{"role": "assistant", "content": a}] for a in (chosen, rejected))
    user = [{"role": "user", "content": prompt}]
    system = [{"role": "system", "content": pair.system}] if pair.system else []
    return Pair([*system, *user], chosen, rejected)


def hint(row: Iterable[str]) -> str:
    """The end of a sentence about columns that are missing: what these columns look like."""
    names = set(row)
    if {"completion", "label"} <= names:
        return (
            "; one answer and a label are an unpaired set (KTO): put a good and a bad answer to "
            "the same prompt into one row"
        )
    if {"response_0", "response_1"} <= names:
        return (
            "; say which of response_0 and response_1 is chosen, after safer_response_id or "
            "better_response_id"
        )
    return ""


def shown(row: Mapping[str, Any], width: int = 300) -> str:
    """A row as an error shows it, long values cut."""
    text = ", ".join(f"{name!r}: {value!r:.80}" for name, value in row.items() if value is not None)
    return f"{{{text[:width]}{'…' * (len(text) > width)}}}"


def _shp(row: Mapping[str, Any], wrong: Wrong) -> Mapping[str, Any]:
    """The row with SHP's two answers in the order that its label says."""
    if "chosen" in row or not {"human_ref_a", "human_ref_b", "labels"} <= row.keys():
        return row
    # Text where a spreadsheet wrote it.
    if (label := str(row["labels"]).strip().lower()) not in _LABELS:
        raise wrong(f"labels is {row['labels']!r}, not 1 (A is better) or 0")
    better, worse = _LABELS[label]
    sides = {"chosen": row[f"human_ref_{better}"], "rejected": row[f"human_ref_{worse}"]}
    return {"prompt": row.get("history"), **sides}


def _prompt(row: Mapping[str, Any], wrong: Wrong) -> Side:
    """The prompt that stands in a column of its own; empty text where there is none."""
    if "prompt" in row:
        if row["prompt"] is None:
            raise wrong("prompt is None")
        return read_side(row["prompt"], "prompt", wrong)
    given = {name: row[name] for name in PROMPTS if row.get(name)}
    if given.keys() == {"instruction", "input"} and all(isinstance(t, str) for t in given.values()):
        return f"{given['instruction']}\n{given['input']}"  # as LLaMA-Factory joins them
    if len(given) > 1:
        raise wrong(f"{' and '.join(given)} may both be the prompt: call one of them so")
    return read_side(*reversed(given.popitem()), wrong) if given else ""


def _system(row: Mapping[str, Any], wrong: Wrong) -> str:
    """The system prompt that stands in a column of its own; empty text where there is none."""
    given = {name: row[name] for name in SYSTEMS if row.get(name)}
    if len(given) > 1:
        raise wrong(f"{' and '.join(given)} may both be the system prompt: leave one")
    for name, text in given.items():
        if not isinstance(text, str):
            raise wrong(f"{name} is {text!r:.40}, no text")
    return next(iter(given.values()), "")


def _beside(row: Mapping[str, Any], shared: list[Message], wrong: Wrong) -> list[Message]:
    """The prompt of two conversations that begin with `shared`, with what a column says of it."""
    asked = any(message["role"] == "user" for message in shared)
    if "prompt" not in row and asked:
        return shared
    prompt = _prompt(row, wrong)
    if not isinstance(prompt, str):
        return joined(prompt, shared, wrong)
    if not asked:
        system = [message for message in shared if message["role"] == "system"]
        user = [{"role": "user", "content": prompt}] if prompt.strip() else []
        return [*system, *user, *shared[len(system) :]]
    texts = [str(message["content"]).strip() for message in shared]
    if not any(prompt.strip() in text or (text and text in prompt) for text in texts):
        raise wrong("the prompt is none of the turns that both answers begin with")
    return shared


def _under(system: str, prompt: list[Message], wrong: Wrong) -> list[Message]:
    """The prompt with a column's system message first, once."""
    first = prompt[0] if prompt else {}
    if first.get("role") != "system":
        return [{"role": "system", "content": system}, *prompt]
    if first["content"].strip() != system.strip():
        raise wrong("the column system is not the conversation's system message")
    return prompt
