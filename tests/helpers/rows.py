"""Files of rows, written by the standard library or pyarrow."""

import csv
import json

import pyarrow
from pyarrow import parquet


def written(folder, content, name="set.json"):
    """A file of that text or these bytes, kept as they are; its path."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def in_format(folder, suffix, rows, shape="lines"):
    """The rows in a file of that suffix; `shape` of JSON text."""
    path = folder / f"rows{suffix}"
    if suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, list(rows[0]))
            lines.writeheader()
            lines.writerows(rows)
    elif suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        content = {
            "lines": "\n\n".join(lines) + "\n",
            "windows lines": "\r\n".join(lines),
            "list": json.dumps(rows),
            "indented": json.dumps(rows, indent=2),
            "examples": json.dumps({"about": 1, "examples": rows}, indent=1),
        }[shape]
        path.write_text(content, encoding="utf-8", newline="")
    return path
