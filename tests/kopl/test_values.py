"""Values: texts by hand, dates beside `datetime`, numbers beside `Fraction`."""

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DatasetError
from workbench.kopl.values import OPERATORS, Value, holds, matches, read, stated

DATES = st.dates(min_value=date(2, 1, 1), max_value=date(5, 12, 31))  # years meet often
NUMBERS = st.integers(-30, 30).map(lambda n: Fraction(n, 4))


def compare(a, operator, b):
    return {"=": a == b, "!=": a != b, "<": a < b, ">": a > b}[operator]


def dated(day):
    return Value("date", (day.year, day.month, day.day))


@pytest.mark.parametrize(
    ("text", "kind", "value", "shown"),
    [
        ("1,234", "quantity", Value("quantity", 1234), "1234"),
        ("1,234,567.5 US dollar", "quantity", Value("quantity", 1234567.5, "US dollar"),
         "1234567.5 US dollar"),
        ("-0.5", "quantity", Value("quantity", -0.5), "-0.5"),
        ("12.0 1", "quantity", Value("quantity", 12), "12"),
        ("3e2  kilo \u00a0gram", "quantity", Value("quantity", 300, "kilo gram"), "300 kilo gram"),
        (str(2**60 + 1), "quantity", Value("quantity", 2**60 + 1), str(2**60 + 1)),
        ("0987", "year", Value("year", 987), "987"),
        ("-44", "year", Value("year", -44), "-44"),
        ("-0044-03-15", "year", Value("date", (-44, 3, 15)), "-0044-03-15"),
        ("87/6/1", "date", Value("date", (87, 6, 1)), "0087-06-01"),
        ("1987", "date", Value("year", 1987), "1987"),
        ("  Cafe\u0301  Noir ", "string", Value("string", "Café Noir"), "Café Noir"),
        ("1,23", "quantity", None, ""),
        ("12,3456", "quantity", None, ""),
        ("1e999", "quantity", None, ""),
        ("9" * 5000, "quantity", None, ""),
        ("nan", "quantity", None, ""),
        ("12metre", "quantity", None, ""),
        ("١٢", "quantity", None, ""),
        ("1990s", "year", None, ""),
        ("1990-00-01", "date", None, ""),
        ("1990-01-32", "date", None, ""),
        ("1990-01/02", "date", None, ""),
        ("", "year", None, ""),
    ],
    ids=ascii,
)  # fmt: skip
def test_texts_are_read_and_shown(text, kind, value, shown):
    assert read(text, kind) == value
    if value:
        assert str(value) == shown


@given(DATES, st.sampled_from(OPERATORS), DATES)
def test_dates_stand_as_datetime_has_them(a, operator, b):
    assert holds(dated(a), operator, dated(b)) == compare(a, operator, b)
    assert read(b.isoformat(), "date") == dated(b)
    assert str(dated(b)) == b.isoformat()


@given(DATES, st.sampled_from(OPERATORS), st.integers(1, 6))
def test_a_year_has_its_dates_in_it_and_no_date_is_a_year(day, operator, year):
    asked, stated_year = Value("year", year), Value("year", year)
    assert holds(dated(day), operator, asked) == compare(day.year, operator, year)
    if operator in "<>":
        assert holds(stated_year, operator, dated(day)) == compare(year, operator, day.year)
    else:
        assert holds(stated_year, operator, dated(day)) == (operator == "!=")


@given(NUMBERS, st.sampled_from(OPERATORS), NUMBERS)
def test_numbers_stand_as_fractions_do_where_the_units_are_one(a, operator, b):
    x, y = Value("quantity", float(a), "metre"), Value("quantity", float(b), "metre")
    assert holds(x, operator, y) == compare(a, operator, b)
    assert matches(x, f"{float(b)} metre") == (a == b)
    assert holds(x, operator, Value("quantity", float(b), "foot")) is None
    assert not matches(x, f"{float(a)} foot")


@pytest.mark.parametrize("operator", OPERATORS)
def test_strings_are_equal_or_not_and_kinds_do_not_mix(operator):
    same, other = Value("string", "12"), Value("string", "13")
    expected = {"=": (True, False), "!=": (False, True)}.get(operator, (None, None))
    assert (holds(same, operator, same), holds(same, operator, other)) == expected
    for number in (Value("quantity", 12), Value("year", 12)):
        assert holds(same, operator, number) is None
        assert holds(number, operator, same) is None
    assert holds(Value("quantity", 12), operator, Value("year", 12)) is None


@given(st.integers(-9999, 9999), st.floats(-1e9, 1e9).map(lambda x: round(x, 3)))
def test_what_a_file_states_is_read_back_from_its_text(year, number):
    for entry, kind in (
        ({"type": "year", "value": year}, "year"),
        ({"type": "year", "value": str(year)}, "year"),
        ({"type": "quantity", "value": number, "unit": "metre"}, "quantity"),
        ({"type": "quantity", "value": number, "unit": "1"}, "quantity"),
    ):
        value = stated(entry, "here")
        assert read(str(value), kind) == value


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ("text", "type"),
        ({"value": 3}, "type"),
        ({"type": "number", "value": 3}, "type"),
        ({"type": "quantity", "value": "many"}, "value"),
        ({"type": "quantity", "value": True}, "value"),
        ({"type": "quantity", "value": float("nan")}, "value"),
        ({"type": "quantity", "value": float("inf")}, "value"),
        ({"type": "quantity", "value": 3, "unit": 1}, "unit"),
        ({"type": "year", "value": 1990.5}, "value"),
        ({"type": "year", "value": "1990-01-01"}, "value"),
        ({"type": "date", "value": "1990"}, "value"),
        ({"type": "date", "value": "1990-13-01"}, "value"),
        ({"type": "date", "value": 1990}, "value"),
        ({"type": "string", "value": 3}, "value"),
        ({"type": "string", "value": " "}, "value"),
        ({"type": "string"}, "value"),
    ],
    ids=ascii,
)
def test_a_value_that_is_none_is_refused_by_field(entry, field):
    with pytest.raises(DatasetError, match=f"^here: field '{field}' is "):
        stated(entry, "here")
