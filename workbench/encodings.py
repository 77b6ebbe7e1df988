"""The text of a file, in whichever encoding it was saved."""

import codecs
import gzip
import logging
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from workbench.arguments import shown
from workbench.errors import DatasetError

log = logging.getLogger(__name__)

LARGEST = 2_000_000_000
"""Bytes of a file's values; as Python objects they take several times that."""
TOO_LARGE = f"more than {LARGEST / 1e9:g} GB; give a part of it"
MARK = "\ufeff"
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8", MARK.encode("gb18030"): "gb18030",
}  # fmt: skip
"""How texts begin that say their encoding; the longer marks first."""
_NO_TEXT = {
    b"PK\x03\x04": "a spreadsheet or zip file; save the table as .csv (UTF-8)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save the table as .csv (UTF-8)",
    b"\x1f\x8b": "packed by gzip; let its name end with .gz",
    b"PAR1": "a Parquet file; let its name end with .parquet",
}
_LINE_END = re.compile(r"\r\n?|\n")
_LONE = re.compile("[\ud800-\udfff]")
_FREQUENT = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着"
    "下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好"
    "小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知"
)
"""Some 45 % of running Chinese, and a tenth at most of what texts in Big5, Shift_JIS, EUC, KOI8-R
or a code page of Windows are as GB18030, which they often are without an error."""
_HOW = (
    "save it as UTF-8, or name its encoding, files.read_rows(path, encoding=…): utf-16-le without "
    "a mark; what Windows calls ANSI is cp1252 in Western Europe, gb18030 in China, big5 in "
    "Taiwan, cp932 in Japan, cp949 in Korea, cp1251 in Russia"
)


def text_of(path: Path, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file, its line ends as they are, and the name of its encoding.

    That is `encoding`, or what a mark says, or UTF-8, or GB18030 (logged) where the text is then
    largely the most frequent hanzi. Bytes that are no text in it stand as lone surrogates, for
    `no_text` to name.

    Raises `DatasetError`, naming the line if there is one, for an unknown encoding or another than
    the mark's, and for a file that is damaged, too large or no text.
    """
    codec = encoding if encoding is None else _codec(encoding)
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path} cannot be read: {reason}") from error
    too_large = TOO_LARGE if len(content) > LARGEST else ""
    if fault := too_large or _by_start(content, _NO_TEXT):
        raise DatasetError(f"{path} cannot be read: {fault}")
    marked = _by_start(content, _MARKS)
    if codec and marked and not codec.startswith(marked):
        raise DatasetError(f"{path}: encoding={encoding!r}, but its mark says {marked}")
    text, name = _decoded(content, marked or codec, path)
    # ISO-2022 is ASCII but for its escapes; ISO 8859 as Windows saves it has letters here.
    controls = "\0|\x1b[$(][@-J)]" + ("|[\x80-\x9f]" if name.startswith("iso8859") else "")
    if match := re.search(controls, text):
        raise DatasetError(
            f"{path}:{_line(text, match)}: {match[0]!a} is in no text in {name}; {_HOW}"
        )
    if lost := re.search("\ufffd", text):
        log.warning("%s:%d: characters were lost here before (U+FFFD)", path, _line(text, lost))
    return text.removeprefix(MARK), name


def no_text(text: str, encoding: str) -> tuple[int, str] | None:
    """The line (from 1) and the value of the first byte that is no text; None where there is none.

    text, encoding: of `text_of`.
    """
    match = None if text.isascii() else _LONE.search(text)
    return match and (
        _line(text, match), f"the byte {ord(match[0]) % 256:#04x} is no text in {encoding}; {_HOW}"
    )  # fmt: skip


def _decoded(content: bytes, codec: str | None, path: Path) -> tuple[str, str]:
    if codec:
        # After a fault what follows in UTF-16 or UTF-32 may be out of step.
        errors = "strict" if codec.startswith(("utf-16", "utf-32")) else "surrogateescape"
        try:
            return content.decode(codec, errors), codec
        except UnicodeError as error:
            before = content[: getattr(error, "start", 0)].decode(codec, "ignore")
            line = 1 + len(_LINE_END.findall(before))
            raise DatasetError(f"{path}:{line}: no text in {codec}: {error}; {_HOW}") from error
    try:
        return content.decode(), "UTF-8"
    except UnicodeDecodeError:
        text = content.decode("utf-8", "surrogateescape")
    chinese = content.decode("gb18030", "surrogateescape")
    counts = Counter(chinese)
    frequent = [counts[hanzi] for hanzi in _FREQUENT if hanzi in counts]
    others = sum(count for character, count in counts.items() if character > "\x7f")
    if len(frequent) >= 10 and sum(frequent) > 0.2 * others:
        log.warning("%s is no UTF-8 text; read as GB18030, which it looks like", path)
        return chinese, "gb18030"
    return text, "UTF-8, nor does the file look like Chinese in GB18030"


def _by_start(content: bytes, values: dict[bytes, str]) -> str | None:
    return next((value for start, value in values.items() if content.startswith(start)), None)


def _codec(encoding: Any) -> str:
    """The codec's own name."""
    try:
        "a".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, TypeError, ValueError) as error:
        raise DatasetError(
            f"encoding={shown(encoding)}: no encoding of texts that Python knows; {_HOW}"
        ) from error


def _line(text: str, match: re.Match[str]) -> int:
    return 1 + len(_LINE_END.findall(text, 0, match.start()))
