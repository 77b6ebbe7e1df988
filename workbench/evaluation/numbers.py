"""Numbers as people write them: digits with separators, fractions, powers of ten, and words."""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

CURRENCY = "[$€£¥₹₩₽₪¢]"
LARGEST = 999
"""Exponents beyond it are not read: they would fill the memory."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: i for i, word in enumerate(_ONES)} | {
    word: 10 * i for i, word in enumerate(_TENS, 2)
}
_SCALE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VALUES = _SMALL | _SCALE
_KILO = {"K": 10**3, "M": 10**6, "B": 10**9}
_WORD = re.compile(rf"\b(?:{'|'.join(_VALUES)})\b", re.IGNORECASE)

WHOLE = (
    r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"  # 1,234.5
    r"|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9])(?:\.[0-9]+)?"  # 12,34,567
    r"|[0-9]{1,3}(?:[\u00a0'][0-9]{3})+(?![0-9])(?:[.,][0-9]+)?"  # 1 234,5 and 1'234.5
    r"|[0-9]{1,3}(?: [0-9]{3}){2,}(?![0-9])(?:[.,][0-9]+)?"
    r"|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+"  # 1.234,5
    r"|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9])"
    r"|[0-9]{1,3}(?:_[0-9]{3})+(?![0-9_])"
    r"|[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
)
"""A number's digits: with separators of thousands and decimals in the ways they are set."""
SCALE = rf"(?P<scale>(?:[ \u00a0-]?(?i:{'|'.join(_SCALE)})s?\b)+)"
EXPONENT = (
    r"(?:[eE](?P<exp>[+-]?[0-9]+)(?!\w|\.[0-9])"
    r"|[ \u00a0]?(?:[x×*·]|\\times\b|\\cdot\b)[ \u00a0]?10 ?"
    r"(?:\^|\*\*) ?\(?(?P<ten>[+-]?[0-9]+)\)?"
    r"|(?:\^|\*\*)\(?(?P<power>-?[0-9]+)\)?)"
)
UNDER = r"[ \u00a0]?/[ \u00a0]?(?P<under>[0-9]+(?:\.[0-9]+)?)"
_PARTS = r"[0-9]{1,9}/[0-9]{1,9}(?![0-9/]|[.][0-9])"
MIXED = rf"(?P<mixed>[0-9]{{1,9}})[ \u00a0]+(?={_PARTS})"
# "3 and 1/2" is one number, "40 and 1/3 of it" are two.
_MIXED = rf"(?P<mixed>[0-9]{{1,9}})(?:[ \u00a0]+(?={_PARTS})| and (?={_PARTS}(?! of\b)))"
NUMBER = re.compile(
    # A minus after a word or a bracket is a dash or a subtraction, not a sign.
    rf"(?P<sign>(?<![\w).%\]])[-–]{CURRENCY}?|{CURRENCY} ?[-–])?"
    rf"(?<!\w)(?<![A-Za-z]\^)(?:{_MIXED})?(?P<body>{WHOLE})(?:{EXPONENT})?(?:{UNDER})?"
    rf"(?:{SCALE}|(?P<kilo>[kKM]|bn|mn)\b)?"
)
"""One number in a text that `level` has been through."""

VULGAR = {c: unicodedata.normalize("NFKC", c).replace("\u2044", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
"""Fractions of one letter."""
_VULGAR = re.compile(f"(?:([0-9])[ \u00a0]?)?([{''.join(VULGAR)}])")

_LEVEL = {
    **dict.fromkeys(map(ord, "\u2007\u2008\u2009\u200a\u202f"), "\u00a0"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2212\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u2019\u02bc"), "'"),
    ord("\u066b"): ".", ord("\u066c"): ",", ord("\u2044"): "/", ord("\u3000"): " ",
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if code != 0xFF0D},
}  # fmt: skip


def level(text: str) -> str:
    """The text in plain letters, digits, spaces and signs, of the same length."""
    if text.isascii():
        return text
    text = text.translate(_LEVEL)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def number(match: re.Match[str]) -> Fraction | None:
    """The value of a match of `NUMBER`; None where it has none, or one of too many digits."""
    try:
        value = Fraction(plain_digits(match["body"]))
        if match["exp"] or match["ten"]:
            exponent = int(match["exp"] or match["ten"])
            if abs(exponent) > LARGEST:
                return None
            value *= Fraction(10) ** exponent
        if match["power"]:
            if abs(int(match["power"])) * max(1, len(match["body"])) > LARGEST:
                return None
            value **= int(match["power"])
        value = value / Fraction(match["under"] or 1) + Fraction(match["mixed"] or 0)
    except (ValueError, ZeroDivisionError):
        return None
    scale = _KILO[match["kilo"][:1].upper()] if match["kilo"] else 1
    for word in re.findall("[a-z]+", (match["scale"] or "").lower()):
        scale *= _SCALE[word.removesuffix("s")]
    return value * scale * (-1 if match["sign"] else 1)


def plain_digits(body: str) -> str:
    """Digits without separators of thousands, and with a point before the decimals."""
    *groups, last = re.split("[ \u00a0'_]", body)
    if groups:
        return "".join(groups) + last.replace(",", ".")
    if "," in body and "." in body and body.rfind(",") > body.rfind("."):
        return body.replace(".", "").replace(",", ".")
    return body.replace("." if body.count(".") > 1 else ",", "")


def write_out(text: str) -> str:
    """The text with fractions of one letter written out: `2½` as `2 1/2`."""
    return _VULGAR.sub(lambda m: (f"{m[1]} " if m[1] else "") + VULGAR[m[2]], text)


@lru_cache(maxsize=65536)
def whole_number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else, None for any other."""
    text = write_out(level(text.strip())).removesuffix(".")
    match = NUMBER.fullmatch(text.removeprefix("+"))
    return number(match) if match else None


def plain(value: Fraction) -> str:
    """A decimal where it ends, a fraction where it does not; never an exponent."""
    under = value.denominator
    places = next((k for k in range(under.bit_length()) if 10**k % under == 0), None)
    if not places:
        return str(value)
    digits = str(abs(value) * 10**places).zfill(places + 1)
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def number_words(text: str) -> list[tuple[int, int, int]]:
    """(start, end, value) of every number in words: "two hundred and six" is one number."""
    return [
        (group[0].start(), group[-1].end(), _spelled([m[0].lower() for m in group]))
        for group in _groups(text)
    ]


def _groups(text: str) -> list[list[re.Match[str]]]:
    """Number words by the number they make: "two hundred and six" is one, "two and three" two."""
    words = list(_WORD.finditer(text))
    groups: list[list[re.Match[str]]] = []
    for i, m in enumerate(words):
        gap = text[words[i - 1].end() : m.start()] if i else ""
        if gap not in (" ", "-", " and "):
            groups.append([m])
            continue
        last, value = (_VALUES[w[0].lower()] for w in (words[i - 1], m))
        if value >= 100:
            joined = gap != " and " and last <= 100 and last < value
        elif last >= 100:
            ahead = re.match(rf"[ -]({'|'.join(_SCALE)})\b", text[m.end() :], re.IGNORECASE)
            scale = _SCALE[ahead[1].lower()] if ahead else 0
            # "two hundred and three hundred" are two, "two hundred and three thousand" is one.
            joined = not scale or (scale > 100 if last == 100 else scale < last)
        else:
            joined = gap != " and " and 20 <= last < 100 and 0 < value < 10
        if joined:
            groups[-1].append(m)
        else:
            groups.append([m])
    return groups


def _spelled(words: list[str]) -> int:
    """The value of number words that make one number."""
    total, part = 0, 0
    for word in words:
        if word == "hundred":
            part = max(part, 1) * 100
        elif word in _SCALE:
            total, part = total + max(part, 1) * _SCALE[word], 0
        else:
            part += _SMALL[word]
    return total + part
