"""Whether an answer is the gold one: by its words and by the value of its numbers (§4)."""

import re
import unicodedata
from decimal import Decimal

_ARTICLES = {"a", "an", "the"}
_NUMBER = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[+-]?\d*\.?\d+")
_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
"""No-break and thin spaces in a number; a plain one may stand between two."""
_PIECE = re.compile(rf"(?<![\w.,])(?:{_NUMBER.pattern})(?!\w|[.,]\d)|\w+")


def normalised(answer: str) -> str:
    """Small letters without punctuation and articles; numbers by value.

    >>> normalised("The 1,200.0 gates!")
    '1200 gates'
    """
    text = unicodedata.normalize("NFKC", _THOUSANDS.sub("", answer)).casefold()
    # An apostrophe is no border of words: "Ada's" is one.
    pieces = [match[0] for match in _PIECE.finditer(re.sub(r"['’]", "", text))]
    return " ".join(_value(piece) for piece in pieces if piece not in _ARTICLES)


def answer_exact(gold: str, predicted: str) -> int:
    """1 where both answers are the same once `normalised`, else 0; an empty gold has no match.

    >>> answer_exact("1200", "The answer: 1,200")
    0
    >>> answer_exact("1200", "1,200.")
    1
    """
    return int(normalised(gold) == normalised(predicted) != "")


def _value(piece: str) -> str:
    if not _NUMBER.fullmatch(piece):
        return piece
    return format(Decimal(piece.replace(",", "")).normalize() + 0, "f")
