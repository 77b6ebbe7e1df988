"""Tables leave nothing out and break no word."""

import pytest

from workbench.plots.tables import metrics_table, table


def test_a_table_has_room_for_every_line_of_its_cells():
    short, long = ({"a": "x", "b": word} for word in ("y", "four words " * 60))
    heights = [table(rows, "t").layout.height for rows in ([short], [short] * 9, [long])]
    assert heights[1] - heights[0] == 8 * 26
    assert heights[2] - heights[0] >= 16 * (60 * 56 // 760)
    many = {f"column{i}": "0.123 [0.100, 0.200]" for i in range(9)}
    assert table([many], "t").layout.height >= heights[0] + 16


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (3, "3"), ("a b", "a b"), (0.0, "0.000"), (0.12345, "0.123"), (-2.5, "-2.500"),
     (0.0004, "4.0e-04"), (123456.7, "123,457"), (True, "True")],
)  # fmt: skip
def test_how_a_value_is_written(value, text):
    assert table([{"a": value}], "t").data[0].cells.values == ([text],)


def test_metrics_stand_beside_what_is_published():
    metric = {"name": "ASR", "value": 0.25, "n": 40, "ci95": [0.125, 0.5], "unit": "seeds"}
    rows = [
        metric | {"published": 0.2, "published_setting": "7B"},
        metric | {"published": None, "published_setting": None, "ci95": None, "unit": None},
    ]
    drawn = metrics_table(rows, "t").data[0]
    names = [name.strip("</b>") for name in drawn.header["values"]]
    assert names == ["metric", "this run", "95 % CI", "over", "n", "published"]
    lines = list(zip(*drawn.cells["values"], strict=True))
    assert lines == [
        ("ASR", "0.250", "[0.125, 0.5]", "seeds", "40", "0.2 (7B)"),
        ("ASR", "0.250", "–", "–", "40", "–"),
    ]
