"""Text in figures: how much room it takes, near enough to leave no row out; how a token reads."""

PAGE = 760
"""Pixels across a table in a notebook 1280 pixels wide."""


def pixels(text: str) -> float:
    """About how wide a text is at 12 points."""
    return sum(3.6 if c in " .,:;'|()[]ilt" else 7.0 for c in text)


def lines(text: str, room: float) -> int:
    """How many lines a text takes in `room` pixels; words are not broken."""
    count, at = 1, 0.0
    for width in map(pixels, text.split()):
        count, at = (count + 1, width) if at and at + width > room else (count, at + width)
        at += pixels(" ")
    return count


def readable(token: str | None) -> str:
    """A token as text: byte-level and sentencepiece spaces and line ends as one sees them."""
    return (token or "").replace("Ġ", " ").replace("▁", " ").replace("Ċ", "⏎").replace("\n", "⏎")
