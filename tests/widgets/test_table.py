"""The table: all rows sorted, filtered as a loop would, in pages."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.widgets.table import PAGE, Table, matching


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    some = pd.DataFrame(
        {"a": rng.normal(size=95), "b": rng.integers(0, 4, 95).astype(float), "note": "x"},
        index=pd.RangeIndex(95, name="feature"),
    )
    some.loc[3, "a"] = np.nan
    return some


def pages(table):
    rows = []
    for page in range(table.pages):
        table.page = page
        rows += [int(r[0]) for r in table.rows]
    return rows


@pytest.mark.parametrize("column", ["a", "b", "feature"])
@pytest.mark.parametrize("descending", [True, False])
def test_the_table_sorts_all_rows_and_pages_them(frame, column, descending):
    table = Table(frame, ["a", "b"], "b" if column == "a" else "a")
    table.page = 2
    table.sort, table.descending = column, descending
    assert table.page == 0
    keys = frame.reset_index()[column].tolist()
    order = sorted(
        range(95), key=lambda i: (keys[i] != keys[i], -keys[i] if descending else keys[i])
    )
    assert pages(table) == order
    assert len(table.rows) == 95 - 4 * PAGE


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from("<,>,<=,>=,==,!=".split(",")),
    st.integers(0, 4),
    st.floats(-2, 2),
    st.booleans(),
)
def test_filters_keep_what_a_loop_keeps(sign, whole, bound, both):
    import operator

    rng = np.random.default_rng(1)
    some = pd.DataFrame({"a": rng.normal(size=40), "b": rng.integers(0, 4, 40).astype(float)})
    compare = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
               "==": operator.eq, "!=": operator.ne}[sign]  # fmt: skip
    text = f"b {sign} {whole}" + (f" and a < {bound!r}" if both else "")
    expected = [
        i for i, row in some.iterrows()
        if compare(row["b"], whole) and (not both or row["a"] < bound)
    ]  # fmt: skip
    assert np.flatnonzero(matching(some, text)).tolist() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c > 1", "no column 'c'; there are a, b"),
        ("note == 1", "no column 'note'"),
        ("a > x", "'x' is no number"),
        ("a", "'a': write an index"),
        ("__import__('os')", "write an index"),
    ],
)
def test_a_bad_filter_says_so_and_keeps_the_rows(frame, text, said):
    with pytest.raises(WorkbenchError, match=re.escape(said)):
        matching(frame, text)
    table = Table(frame, ["a"], "a")
    rows = table.rows
    table.filter = text
    assert said in table.problem
    assert table.rows == rows
    table.filter = "7"
    assert [r[0] for r in table.rows] == ["7"]
    assert not table.problem
