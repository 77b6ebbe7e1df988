"""A table of many rows in pages, sorted and filtered where the rows are."""

import re
from collections.abc import Sequence

import anywidget
import numpy as np
import pandas as pd
import traitlets

from workbench.errors import WorkbenchError
from workbench.widgets.head_map import STATIC

PAGE = 20
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>|=)\s*(\S+)\s*")
_COMPARE = {
    "<": pd.Series.lt, ">": pd.Series.gt, "<=": pd.Series.le, ">=": pd.Series.ge,
    "==": pd.Series.eq, "=": pd.Series.eq, "!=": pd.Series.ne,
}  # fmt: skip


class Table(anywidget.AnyWidget):
    """One page of a data frame with a numeric index: `sort`, `descending`, `filter`, `page`.

    `filter`: an index, or conditions such as `density_policy > 0.01 and q_policy < 0.05`; a bad one
    leaves the rows as they are, and `problem` says why. `selected`: the index of the row picked.
    """

    _esm = STATIC / "table.js"
    _css = STATIC / "table.css"
    columns = traitlets.List().tag(sync=True)
    rows = traitlets.List().tag(sync=True)
    sort = traitlets.Unicode().tag(sync=True)
    descending = traitlets.Bool(True).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    page = traitlets.Int(0)
    pages = traitlets.Int(1)
    filter = traitlets.Unicode()
    problem = traitlets.Unicode()

    def __init__(self, frame: pd.DataFrame, shown: Sequence[str], sort: str) -> None:
        self._frame = frame
        self._shown, self._matching = list(shown), np.arange(len(frame))
        super().__init__(columns=[frame.index.name or "row", *shown], sort=sort)
        self._filter_rows()

    @traitlets.observe("filter")
    def _filter_rows(self, _: object = None) -> None:
        try:
            self._matching, self.problem = np.flatnonzero(matching(self._frame, self.filter)), ""
        except WorkbenchError as error:
            self.problem = str(error)
            return
        self._sort_rows()

    @traitlets.observe("sort", "descending")
    def _sort_rows(self, _: object = None) -> None:
        # Places and one column: a feature table has dozens, which need not be moved.
        own = self.sort == self.columns[0]
        values = self._frame.index.to_series() if own else self._frame[self.sort]
        values = values.iloc[self._matching].reset_index(drop=True)
        order = values.sort_values(ascending=not self.descending, kind="stable").index
        self._places = self._matching[order]
        self.pages = max(1, -(-len(self._places) // PAGE))
        if self.page:
            self.page = 0
        else:
            self._draw()

    @traitlets.observe("page")
    def _draw(self, _: object = None) -> None:
        start = min(max(self.page, 0), self.pages - 1) * PAGE
        page = self._frame[self._shown].iloc[self._places[start : start + PAGE]]
        self.rows = [
            [str(i), *(_cell(v) for v in line)]
            for i, line in zip(page.index, page.itertuples(index=False), strict=True)
        ]


def matching(frame: pd.DataFrame, query: str) -> np.ndarray:
    """bool `[row]`: the rows that an index or `column < number and …` lets through.

    Raises `WorkbenchError` naming the part that is not understood, or the columns there are.
    """
    text = query.strip()
    mask = np.ones(len(frame), bool)
    if not text:
        return mask
    if text.isdigit():
        return frame.index.to_numpy() == int(text)
    for part in re.split(r"\band\b|,", text):
        condition = _CONDITION.fullmatch(part)
        if not condition:
            raise WorkbenchError(f"{part.strip()!r}: write an index, or column < number and …")
        name, sign, number = condition.groups()
        if name not in frame or not pd.api.types.is_numeric_dtype(frame[name]):
            numeric = frame.select_dtypes("number").columns
            raise WorkbenchError(f"no column {name!r}; there are {', '.join(numeric)}")
        try:
            value = float(number)
        except ValueError as error:
            raise WorkbenchError(f"{number!r} is no number") from error
        mask &= _COMPARE[sign](frame[name], value).to_numpy()
    return mask


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3g}"
    return str(value)
