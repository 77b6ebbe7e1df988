"""Problems of the sums read back from their wording, without the code under test."""

import re


def solved(text, reading=1):
    """(answer, numbers) of a problem's wording, read without the code that made it."""
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    match numbers:
        case [a, b, c] if "gives away" in text:
            return a + b - c, numbers
        case [a, b, c] if "boxes" in text:
            return a * b - c, numbers
        case [a, b, c] if "hats" in text:
            return a + b, numbers
        case [a, b, c] if re.search(r"has \d+ more\.", text):
            return (b if reading == 1 else a) + c, numbers
        case [a, b] if "more than" in text:
            return 2 * a + b, numbers
    raise AssertionError(text)


def family_of(text):
    marks = {r"has (\d+|'X') more\.": 5, "hats": 4, "more than": 3, "boxes": 2, "gives away": 1}
    return next(family for mark, family in marks.items() if re.search(mark, text))
