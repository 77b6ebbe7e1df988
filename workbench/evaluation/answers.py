"""Answers read out of generated text, literally as the paper's code does or robustly.

`official` keeps the quirks that the published figures rest on (`10-20` ends in `-20`, a date loses
its last digit where no full stop follows). `robust` also reads what chat models write.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

PHRASE = "The answer is"
KINDS = ("number", "choice", "date", "yesno", "truefalse", "text")
TOLERANCE = Fraction(1, 10**6)

_WORDS = {"yesno": ("yes", "no"), "truefalse": ("true", "false")}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_CURRENCY = "[$€£¥₹]"


@lru_cache(maxsize=65536)
def extract_answer(text: str, kind: str, *, style: str = "robust") -> str:
    """The answer in `text`, `""` where there is none.

    Letters come back in upper case, yes/no and true/false in lower case; robust dates are
    MM/DD/YYYY and robust numbers have no thousands separators (fractions stay `3/4`).

    Raises `ValueError` for an unknown `kind` or `style`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: use one of {', '.join(KINDS)}")
    if style not in ("official", "robust"):
        raise ValueError(f"style={style!r} is unknown: use 'official' or 'robust'")
    return _official(text, kind) if style == "official" else _robust(text, kind)


def same_answer(a: str, b: str) -> bool:
    """Whether two extracted answers agree.

    Numbers: equal as exact rationals or, unless both are whole, within a relative 1e-6 (some golds
    are printed floats, such as 0.8333333333333333). Anything else: equal text, ignoring case. An
    empty answer equals nothing, not even another empty one.
    """
    left, right = a.strip(), b.strip()
    if not left or not right:
        return False
    x, y = _rational(left), _rational(right)
    if x is None or y is None:
        return left.casefold() == right.casefold()
    if x.denominator == y.denominator == 1:
        return x == y
    return abs(x - y) <= TOLERANCE * max(abs(x), abs(y))


@lru_cache(maxsize=65536)
def _rational(text: str) -> Fraction | None:
    # No exponents: Fraction("1e999999999") would fill the memory.
    match = re.fullmatch(
        r"([+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.[0-9]*)?)(?:/([0-9]+))?", text
    )
    if not match:
        return None
    try:
        return Fraction(match[1].replace(",", "").removesuffix(".")) / Fraction(match[2] or 1)
    except (ValueError, ZeroDivisionError):
        return None


_OFFICIAL: dict[str, Callable[[str], list[str]]] = {
    "number": lambda text: re.findall(r"-?\d+\.?\d*", text.replace(",", "")),
    "choice": lambda text: re.findall("[A-E]", text),
    "date": lambda text: [text[1:-1]],
    "text": lambda text: [re.sub(r"[\"'.\s]", "", text)],
}


def _official(text: str, kind: str) -> str:
    # Without the phrase, rpartition leaves the whole text in `rest`.
    _, phrase, rest = text.rpartition(PHRASE)
    if kind in _WORDS:
        words = re.sub(r"[\"'\n.:,]", " ", rest.lower()).split(" ")
        matches = [word for word in words if word in _WORDS[kind]]
    else:
        matches = _OFFICIAL[kind](rest)
    return matches[0 if phrase else -1].removesuffix(".") if matches else ""


_MARKERS = (r"(?i)\banswer\s+is\b", r"(?i)\banswer\s*[:=]")
_CLEANING = (
    (r"(?<=\d)(?=\\[dt]?frac)", " "),  # 1\frac{1}{2} is one and a half, not 11/2
    (r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}", r"\1/\2"),
    (r"\{,\}", ","),
    (r"\\(?:text\w*|math\w+|mbox)\s*(?=\{)", ""),
    (r"\\(?:times|cdot|div)\b", "*"),
    (r"\\[,;:!]", ""),
    (r"\\[()\[\]]", " "),
    (r"\\(?=[$%])", ""),
    (r"(?<![\w*])\*\*([^*\n]+)\*\*(?![\w*])", r"\1"),  # bold, but not the power 2**3
    (r"[{}]", ""),
    ("[\u2212\u2011]", "-"),
    ("[\u00a0\u202f]", " "),
)
_NUMBER = re.compile(
    # A minus after a word or a bracket is a dash or a subtraction, not a sign.
    rf"(?P<sign>(?<![\w).%])-{_CURRENCY}?|{_CURRENCY}\s?-)?(?<!\w)"
    r"(?:(?P<whole>[0-9]{1,9})\s+(?=[0-9]{1,9}/[0-9]{1,9}(?![0-9/])))?"
    r"(?P<body>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:\s?/\s?(?P<under>0*[1-9][0-9]*)(?![0-9/]))?"
)
# `3 * 4 =` or `X =` in front of a result: no words, no end of a clause.
_WORKING = re.compile(r"(?:[^A-Za-z\n.,;]|[.,](?=[0-9])|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))*=")
_CHOICE = re.compile(
    r"\(([A-Ea-e])\)|(?<![A-Za-z'])([A-E])(?![A-Za-z'])"
    r"|(?<![A-Za-z'.])([a-e])(?=\s*[).:](?![a-z])|\s*$)"
)


def _clean(text: str) -> str:
    """Plain text of Markdown and LaTeX."""
    for pattern, plain in _CLEANING:
        text = re.sub(pattern, plain, text)
    return text


def _boxed(text: str) -> str | None:
    """The content of the last `\\boxed{...}`, to the end of a text that was cut inside it."""
    _, box, rest = text.rpartition(r"\boxed{")
    if not box:
        return None
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return rest[:place]
    return rest


def _robust(text: str, kind: str) -> str:
    """First match in the box, else after the last marker, else the last match anywhere."""
    clean = _clean(text)
    box = _boxed(text)
    pieces = [] if box is None else [_clean(box)]
    for marker in _MARKERS:
        pieces += re.split(marker, clean)[1:][-1:]
    for piece in pieces:
        if matches := _matches(piece, kind, marked=True):
            return matches[0]
    matches = _matches(clean, kind, marked=False)
    return matches[-1] if matches else ""


def _matches(text: str, kind: str, *, marked: bool) -> list[str]:
    """All answers in `text`, which follows a marker (`marked`) or is all there is."""
    match kind:
        case "number":
            return _numbers(text, marked)
        case "choice":
            if not marked:  # the article: "A dog barks."
                text = re.sub(r"(?<!ption )(?<!hoice )\bA(?=\s+[a-z])", "", text)
            return [(m[1] or m[2] or m[3]).upper() for m in _CHOICE.finditer(text)]
        case "date":
            return _dates(text)
        case "text":
            return _texts(text, marked)
    yes, no = _WORDS[kind]
    text = re.sub(rf"{yes} or {no}", "", text.lower())  # an echo of the question
    opening = re.match(rf"\W*({yes}|{no})\b", text)
    # "Yes. There is no doubt": the last word of the two would be the wrong one.
    return [opening[1]] if opening else re.findall(rf"\b({yes}|{no})\b", text)


def _numbers(text: str, marked: bool) -> list[str]:
    working = _WORKING.match(text) if marked else None
    # "3 * 4 = 12" answers with 12, but "12 = 3 * 4" with 12 as well.
    if working and not re.fullmatch(rf"\W*{_NUMBER.pattern}\W*", working[0].split("=")[0]):
        text = text[working.end() :]
    numbers = []
    for m in _NUMBER.finditer(text):
        value = m["body"].replace(",", "") + (f"/{m['under']}" if m["under"] else "")
        if m["whole"] and m["under"]:
            value = str(Fraction(m["whole"]) + Fraction(value))
        numbers.append(("-" if m["sign"] else "") + value)
    return numbers


def _dates(text: str) -> list[str]:
    def numeric(match: re.Match[str]) -> str:
        return f"{_MONTHS.index(match['name'].lower()) + 1}/{match['day']}/{match['year']}"

    name, day = rf"\b(?P<name>{'|'.join(_MONTHS)})[a-z]*\.?", r"\b(?P<day>\d{1,2})(?:st|nd|rd|th)?"
    text = re.sub(rf"(?i){name}\s+{day},?\s+(?P<year>\d{{4}})", numeric, text)
    text = re.sub(rf"(?i){day}\s+(?:of\s+)?{name},?\s+(?P<year>\d{{4}})", numeric, text)
    text = re.sub(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b", r"\2/\3/\1", text)
    dates = re.findall(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])", text)
    return [f"{int(month):02}/{int(day):02}/{year}" for month, day, year in dates]


def _texts(text: str, marked: bool) -> list[str]:
    trim = " \t\n\"'`“”‘’.,:;!*$"
    if not marked:
        # No sentence is an answer; a lone word is, and so is what was put in quotes.
        lone = text.strip(trim)
        return [lone] if lone and not re.search(r"\s", lone) else re.findall(r'"([^"\n]+)"', text)
    first = re.split(r"\.(?:\s|$)|\n", text.strip(trim), maxsplit=1)[0].strip(trim)
    return [first] if first else []
