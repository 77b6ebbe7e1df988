r"""Where a reply states its answer: thoughts, Markdown, LaTeX and HTML taken off.

A reply says its answer in a box (`\boxed{…}`, `<answer>…</answer>`), else behind a marker ("the
answer is", `####`), else in front of one ("12 is the answer"), else anywhere.
"""

import html
import re
from dataclasses import dataclass
from functools import lru_cache

from workbench.evaluation.numbers import CURRENCY, level, write_out

_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
_OPEN = rf"<{_THOUGHT}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>"
_CLOSE = rf"</{_THOUGHT}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>"
_END = re.compile(r"<\|(?:im_end|endoftext|eot_id|end|return|end_of_text)\|>|</s>|<end_of_turn>")
_NEXT = re.compile(r"\n\s*(?:Q|Question|Human|User)\s*:")
_MOST = 8
"""Markers that are looked behind, from the last."""
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
SIGN_BEFORE = (
    r"(?:^|[:=(,*]|\b(?:is|are|be|was|equals?|to|of|about|at|gives?|gets?|got|leaves?|makes?|yields?|"
    r"becomes?|reads?|reach(?:es)?|so|by|or|have|has))\W{0,3}"
)
"""What stands before a "minus" that is a sign; behind anything else it may take away."""
_PART = r"\s*(?:\{([^{}]+)\}|([0-9]))"
_CLEANING = (
    (r"(?i)</?(?:b|i|em|strong|u|span|div|p|br|sub|code|mark|font)\b[^<>\n]*>", ""),
    (r"(?i)<sup>([^<>]*)</sup>", r"^\1"),
    ("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda m: "^" + m[0].translate(_SUPER)),
    (r"\\(?:displaystyle|textstyle|left|right|big|Big|bigl|bigr)(?![A-Za-z])", ""),
    (r"\\(?:quad|qquad|;|:|,|!|\s)|~(?=\\|[0-9])", " "),
    (r"(?<=\d)\s?(?=\\[dtc]?frac)", " "),  # 1\frac{1}{2} is one and a half, not 11/2
    (r"(?<=\d) and (?=\\[dtc]?frac)", " "),
    (rf"\\[dtc]?frac{_PART}{_PART}",
     lambda m: f"{m[1] or m[2]}/{m[3] or m[4]}"),
    (r"\{,\}", ","),
    (r"(?<=[0-9])\\[,;:! ](?=[0-9]{3})", "\u00a0"),
    (r"\^\s*\{?\s*\\circ\s*\}?", "°"),
    (r"\\(?:text\w*|math\w+|mbox|operatorname|underline|fbox|bf|rm)\s*(?=\{)", ""),
    (r"\\(?:times|cdot)(?![A-Za-z])", "*"),
    (r"\\div(?![A-Za-z])", "/"),
    (r"\\(?:approx|simeq|sim|thickapprox)(?![A-Za-z])", "≈"),
    (r"\\neq?(?![A-Za-z])", " not "),
    (r"\\[()\[\]]", " "),
    (r"\\(?=[$%#&{}])", ""),
    (r"\^\{([^{}]*)\}", r"^\1"),
    (r"(?<![\w*])(\*{1,3})([^*\n]+)\1(?![\w*])", r"\2"),  # bold, but not the power 2**3
    (r"(?<!\w)(_{1,2})([^_\n]+)\1(?!\w)", r"\2"),
    ("[{}`]", ""),
    (rf"\b(?:Rs|INR|USD|EUR|GBP)\.?\s?(?=-?[0-9]|{CURRENCY})", ""),
    (r"(?i)\bnegative\s+(?=\W?[0-9])", "-"),
    (rf"(?i)({SIGN_BEFORE})minus\s+(?=\W?[0-9])", r"\1-"),
)  # fmt: skip
_RULES = [(re.compile(pattern), plain) for pattern, plain in _CLEANING]
_ANSWER = re.compile(
    r"(?i)\b(?<!this )(?<!your )(?:answer|solution)"
    r"(?:\s+(?:is|are|was|would be|will be|should be|must be)\b"
    r"(?!\s*(?:correct|right|wrong|below)\b)"
    r"|\s*(?:[:=→]|->))"
    r"|####(?=[\s*]*-?\W?[0-9](?![0-9]*[.)]\s+[A-Za-z])|\s*\(?[A-Z]\)?\s*$)"
)
_FINAL = re.compile(
    r"(?i)\b(?:final (?:result|total|value|count|number|price|amount|score)|(?:correct|right|best) "
    r"(?:option|choice|alternative|one))(?:\s+(?:is|are|would be|will be|should be)\b|\s*[:=])"
)
_RESULT = re.compile(
    r"(?i)\b(?:result|total|option|choice)\s+(?:is|are|would be|will be|should be)\b"
)
TAKEN_BACK = re.compile(
    r"(?i)\b(?:wait|oops|sorry|correction|scratch that|hmm|hold on|on second thought|"
    r"actually|i made (?:a|an) (?:mistake|error)|no(?=,))\b"
)
"""Words with which a reply takes back what it said."""
RETRACTED = re.compile(
    r"(?i)\b(?:wait|oops|sorry|correction|scratch that|hold on|on second thought)\b"
)
"""Those of them that say nothing else inside a sentence."""
SENTENCE = re.compile(r"[.!?](?=\s+[^\d\s$€£]|\s*$)|\n(?=\s*\S)|;")


@dataclass(frozen=True)
class Reply:
    """A reply's plain text and its statements, the one that counts first.

    `boxed`: the text of the last box; `marked`: texts behind the markers, the last marker first,
    those of an answer before those of a result.
    """

    text: str
    boxed: str | None
    marked: tuple[str, ...]


@lru_cache(maxsize=4096)
def read(text: str) -> Reply:
    """Take a reply apart; what a model thought, or wrote behind its end, counts nothing."""
    text = spoken(text)
    following = _NEXT.search(text)
    if following and (_ANSWER.search(text, 0, following.start()) or r"\boxed" in text):
        text = text[: following.start()]
    text = write_out(level(html.unescape(text)))
    box, clean = _boxed(text), plain(text)
    answers, finals, results = (
        [clean[m.end() :] for m in list(marker.finditer(clean))[: -_MOST - 1 : -1]]
        for marker in (_ANSWER, _FINAL, _RESULT)
    )
    # "The total is 24. Half of them are 12." goes on.
    last = [r for r in results if not re.search("[0-9]", r[len(first_sentence(r)) :])]
    marked = tuple(answers + finals + last)
    return Reply(clean, None if box is None else plain(box).strip(), marked)


def first_sentence(piece: str) -> str:
    """The first sentence or line that says something."""
    start = len(piece) - len(piece.lstrip(" \n\t\r:*=#>|" + "-.\u00a0" * ("\n" in piece[:9])))
    end = SENTENCE.search(piece, start)
    while end and piece[start : end.start()].rstrip().endswith(":"):
        end = SENTENCE.search(piece, end.end())
    return piece[: end.start()] if end else piece


def plain(text: str) -> str:
    """Plain text of Markdown, HTML and LaTeX."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def spoken(text: str) -> str:
    """What follows the last thought, to the end of the turn; of an unfinished thought nothing."""
    text = re.split(_CLOSE, text, flags=re.IGNORECASE)[-1]
    text = re.split(_OPEN, text, maxsplit=1, flags=re.IGNORECASE)[0]
    return _END.split(text, maxsplit=1)[0]


def _boxed(text: str) -> str | None:
    """The content of the last box that holds anything, to the end of a text cut inside it."""
    tags = [re.split("(?i)</answer>", t)[0] for t in re.split("(?i)<answer>", text)[1:]]
    tag = next((t for t in reversed(tags) if t.strip()), None)
    text = text if tag is None else tag
    for box in reversed(list(re.finditer(r"\\f?boxed\s*(?:\{|(?=[0-9]))|\\fbox\s*\{", text))):
        if not box[0].endswith("{"):
            return re.match(r"[0-9.,]*[0-9]", text[box.end() :])[0]
        rest, depth = text[box.end() :], 1
        for place, letter in enumerate(rest):
            depth += (letter == "{") - (letter == "}")
            if depth == 0:
                rest = rest[:place]
                break
        if plain(rest).strip():
            return rest
    return tag
