"""A table of many rows in pages, sorted and filtered where the rows are."""

import re
from collections.abc import Sequence

import anywidget
import pandas as pd
import traitlets

from workbench.errors import WorkbenchError
from workbench.widgets.parts import STATIC

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
        self._shown = list(shown)
        self._kept = frame
        super().__init__(columns=[frame.index.name or "row", *shown], sort=sort)
        self._filter_rows()

    @traitlets.observe("filter")
    def _filter_rows(self, _: object = None) -> None:
        try:
            self._kept, self.problem = kept(self._frame, self.filter), ""
        except WorkbenchError as error:
            self.problem = str(error)
            return
        self._sort_rows()

    @traitlets.observe("sort", "descending")
    def _sort_rows(self, _: object = None) -> None:
        if self.sort == self.columns[0]:
            self._sorted = self._kept.sort_index(ascending=not self.descending)
        else:
            self._sorted = self._kept.sort_values(
                self.sort, ascending=not self.descending, kind="stable"
            )
        self.pages = max(1, -(-len(self._sorted) // PAGE))
        if self.page:
            self.page = 0
        else:
            self._draw()

    @traitlets.observe("page")
    def _draw(self, _: object = None) -> None:
        start = min(max(self.page, 0), self.pages - 1) * PAGE
        some = self._sorted[self._shown].iloc[start : start + PAGE]
        self.rows = [
            [str(i), *(_cell(v) for v in line)]
            for i, line in zip(some.index, some.itertuples(index=False), strict=True)
        ]


def kept(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows that an index or `column < number and …` lets through.

    Raises `WorkbenchError` naming the part that is not understood, or the columns there are.
    """
    text = condition.strip()
    if not text:
        return frame
    if text.isdigit():
        return frame[frame.index == int(text)]
    mask = pd.Series(True, index=frame.index)
    for part in re.split(r"\band\b|,", text):
        found = _CONDITION.fullmatch(part)
        if not found:
            raise WorkbenchError(f"{part.strip()!r}: write an index, or column < number and …")
        name, sign, number = found.groups()
        if name not in frame or not pd.api.types.is_numeric_dtype(frame[name]):
            numeric = frame.select_dtypes("number").columns
            raise WorkbenchError(f"no column {name!r}; there are {', '.join(numeric)}")
        try:
            value = float(number)
        except ValueError as error:
            raise WorkbenchError(f"{number!r} is no number") from error
        mask &= _COMPARE[sign](frame[name], value)
    return frame[mask]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3g}"
    return str(value)
