"""Tokens as HTML: two columns side by side, each token shaded by a number."""

import html
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from workbench.plots.features import token_text

WARM, COLD = (217, 138, 31), (47, 109, 179)
"""Above and below zero: orange and blue, told apart by all kinds of colour vision."""


def columns(*texts: tuple[str, str]) -> str:
    """HTML of texts side by side, each (heading, inner HTML)."""
    cells = "".join(
        f'<div><h4>{html.escape(head)}</h4><div class="wb-text" tabindex="0" aria-live="off" '
        f'data-column="{html.escape(head.split()[0])}">{inner}</div></div>'
        for head, inner in texts
    )
    return f'<div class="wb-columns">{cells}</div>'


def shaded(
    pieces: Sequence[str], values: Sequence[float], limit: float, *, at: int | None = None
) -> str:
    """HTML of pieces of text, each coloured by its value (±`limit` is the full colour).

    The value is shown on hover. `at`: the piece to outline.
    """
    out = []
    for i, (piece, value) in enumerate(zip(pieces, values, strict=True)):
        r, g, b = WARM if value > 0 else COLD
        alpha = 0.75 * min(abs(value) / limit, 1) if limit > 0 else 0.0
        mark = " wb-at" if i == at else ""
        out.append(
            f'<span class="wb-tok{mark}" title="{value:.3g}" '
            f'style="background:rgba({r},{g},{b},{alpha:.2f})">{html.escape(piece)}</span>'
        )
    return "".join(out)


def pieces(tokenizer: Any, text: str, ids: Sequence[int] | None = None) -> list[str]:
    """Pieces of a text, cut where its tokens end; joined they are the text.

    Tokens as they are spelled where the tokenizer keeps no places, or where `ids` are not those of
    the text when it stands alone.
    """
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    ids = spans["input_ids"] if ids is None else list(ids)
    if not tokenizer.is_fast or spans["input_ids"] != ids:
        return [token_text(t) for t in tokenizer.convert_ids_to_tokens(ids)]
    ends = [end for _, end in spans["offset_mapping"]]
    cuts = [0, *accumulate(ends[:-1], max), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


def head_grid(
    values: Sequence[Sequence[float | None]], active: Sequence[Sequence[int]], name: str
) -> str:
    """HTML of a head map: layers down, heads across, a dot where a head is switched in."""
    flat = [v for row in values for v in row if v is not None]
    low, high = (min(flat), max(flat)) if flat else (0.0, 1.0)
    on = {tuple(c) for c in active}
    lines = []
    for i, row in enumerate(values):
        cells = []
        for h, value in enumerate(row):
            depth = 0.0 if value is None else 0.1 + 0.8 * (value - low) / max(high - low, 1e-9)
            title = "" if value is None else f"layer {i} head {h}: {name} {value:.3g}"
            dot = "●" if (i, h) in on else ""
            cells.append(
                f'<td title="{html.escape(title)}" style="width:26px;text-align:center;'
                f'background:rgba(8,64,129,{depth:.2f})">{dot}</td>'
            )
        lines.append(f"<tr><th>layer {i}</th>{''.join(cells)}</tr>")
    caption = f"<div>{html.escape(name)} by layer and head</div>"
    return f'<table class="wb-rows">{"".join(lines)}</table>{caption}'


def html_table(header: Sequence[str], cells: Sequence[Sequence[Any]]) -> str:
    """HTML of a plain table."""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(c))}</td>" for c in line) + "</tr>"
        for line in cells
    )
    return f'<table class="wb-rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _text(cell: Any) -> str:
    if cell is None:
        return "–"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
