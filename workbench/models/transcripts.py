"""Text pairs: where the prompt ends that two texts share at their start."""

import re
from collections.abc import Callable
from itertools import takewhile

_ASSISTANT = re.compile(
    r"(?:^|\n)[ \t]*(?:\*\*)?(?:### ?)?(?:Assistant|Response|GPT)(?:\*\*)?:|\bASSISTANT:"
    r"|<[|｜](?i:assistant|chatbot_token)[|｜]>\n?|\[/INST\]|<start_of_turn>model\n"
    r"|<\|[a-z_]+\|>assistant(?:<\|[a-z_]+\|>)?(?:final<\|message\|>)?\n{0,2}"
)
_USER = re.compile(
    r"(?:^|\n)[ \t]*(?:\*\*)?(?:### ?)?(?:Human|User|Instruction)(?:\*\*)?:|\bUSER:"
    r"|<[|｜](?i:user|user_token)[|｜]>|<\|[a-z_]+\|>user\b|\[INST\]|<start_of_turn>user\n"
)
_ANSWERS = re.compile(
    rf"{_ASSISTANT.pattern}|(?:^|\n)[ \t]*(?i:assistant|response|answer|a|ai|bot|chatbot|model):"
)
"""Marks that also open an ordinary answer: read only where nothing else says where it begins."""
_ASKS = re.compile(rf"{_USER.pattern}|\n[ \t]*(?i:human|user|question|q):")

_SINGLE = re.compile(r"\s*Human:\s*(.*?)\s*Assistant:\s*", re.DOTALL)
Texts = tuple[str, str, str]
"""Prompt, chosen and rejected answer."""


def text_pair(prompt: str, chosen: str, rejected: str, wrong: Callable[[str], Exception]) -> Texts:
    """The three texts, each once: of transcripts the prompt ends with the assistant's last mark
    that both share, of texts without a prompt with their last common word. A prompt that is given
    is left as it is, also where answers repeat it (`begins_with` tells).

    Raises `wrong(fault)` for a user's turn among the answers, nothing in common and no prompt.
    """
    beginning = chosen[
        : len(list(takewhile(lambda ab: ab[0] == ab[1], zip(chosen, rejected, strict=False))))
    ]
    given = prompt.strip()
    marks = list((_ASSISTANT if given else _ANSWERS).finditer(beginning))
    if marks and (not given or given in beginning or not beginning[: marks[-1].start()].strip()):
        cut = marks[-1].end()
        if any((_USER if given else _ASKS).search(answer, cut) for answer in (chosen, rejected)):
            raise wrong("a user's turn follows the first answer and would be trained as one")
        head = beginning[:cut] if given in beginning[:cut] else prompt + beginning[:cut]
        return head, chosen[cut:], rejected[cut:]
    dialogue = _USER.match(prompt.lstrip()) and _ASSISTANT.search(prompt)
    if dialogue and any(_USER.search(answer) for answer in (chosen, rejected)):
        raise wrong("a user's turn follows the first answer and would be trained as one")
    transcripts = [bool(_USER.match(answer.lstrip())) for answer in (chosen, rejected)]
    if all(transcripts) or (any(transcripts) and not given):
        raise wrong("transcripts without a shared turn of the assistant's that answers the prompt")
    if given:
        return prompt, chosen, rejected
    cut = _last_word(chosen, rejected, len(beginning))
    if not beginning[:cut].strip():
        raise wrong("there is no prompt, and the two answers share nothing at the start")
    if cut in (len(chosen), len(rejected)):
        raise wrong("there is no prompt, and one answer is the beginning of the other")
    return beginning[:cut], chosen[cut:], rejected[cut:]


def begins_with(answer: str, prompt: str) -> bool:
    """Whether the answer begins with the prompt, as a whole and not with letters of a word.

    Other white space is no other text.
    """
    end = _end_of(prompt, answer)
    following = answer[end : end + 1]
    return bool(end) and (not _word(answer[end - 1]) or not following or following.isspace())


def taken_off(prompt: str, chosen: str, rejected: str) -> Texts:
    """The texts where both answers begin with the prompt, it and nothing else taken off them."""
    if not (chosen.startswith(prompt) and rejected.startswith(prompt)):
        prompt = prompt.rstrip()
    return prompt, *(answer[_end_of(prompt, answer) :] for answer in (chosen, rejected))


def _end_of(prompt: str, answer: str) -> int:
    """Where the prompt ends that an answer begins with, 0 where it does not."""
    for same in (prompt, prompt.rstrip()):
        if same.strip() and answer.startswith(same):
            return len(same)
    words = prompt.split()
    if not words or not answer.lstrip().startswith(words[0]):
        return 0
    match = re.match(r"\s*" + r"\s+".join(map(re.escape, words)), answer)
    return match.end() if match else 0


def single_turn(prompt: str) -> str | None:
    """The question of a transcript of one turn, None for one of several; else the prompt."""
    if not _USER.match(prompt.lstrip()):
        return prompt
    match = _SINGLE.fullmatch(prompt)
    return match[1] if match and not _USER.search(match[1]) else None


def _last_word(chosen: str, rejected: str, cut: int) -> int:
    """Where the last whole word ends before `cut`; the space behind it is the answer's."""

    def inside(place: int) -> bool:
        following = (text[place : place + 1] for text in (chosen, rejected))
        return place > 0 and _word(chosen[place - 1]) and any(map(_word, following))

    while inside(cut):
        cut -= 1
    while cut and chosen[cut - 1] == " ":
        cut -= 1
    return cut


def _word(character: str) -> bool:
    """Whether it is part of a word, of a script that puts spaces between words."""
    return bool(re.match(r"[\w'’]", character)) and not "\u2e80" <= character <= "\ud7ff"
