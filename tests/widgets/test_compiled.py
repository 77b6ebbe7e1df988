"""The inspector shows what the network holds, says what it cannot read, and patches."""

import html
import re

import pytest

import workbench as wb
from workbench.papers.neural_comprehension.inspect_network import decoded
from workbench.widgets.compiled import EXAMPLES, PROGRAMS


@pytest.fixture
def ui():
    view = wb.ui.compiled("addition", "478+256")
    yield view
    view.close()


def cells(markup):
    """The table as text, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", markup)
    return [[html.unescape(re.sub("<.*?>", "", c)) for c in
             re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]  # fmt: skip


def said(view):
    return re.findall(r"<b>(\w+)</b> (.*?) \u2003", html.unescape(view.answer.value))


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_every_program_can_be_looked_at(name):
    view = wb.ui.compiled(name)
    right = PROGRAMS[name].answer(EXAMPLES[name])
    assert said(view) == [("network", right), ("Python", right), ("reference", right)]
    assert bool(view.attention.outputs) == (name != "copy")
    assert view.stream.outputs
    assert not view.message.value
    view.close()


def test_the_values_follow_the_steps(ui):
    steps = [name for name, _ in ui.step.options]
    assert ui.step.value == len(steps) - 1
    for i in range(len(steps)):
        ui.step.value = i
        head, *rows = cells(ui.values.value)
        assert head == ["", *"478+256="]
        shown = {name: row for name, *row in rows}
        assert shown == {n: ["" if v is None else str(v) for v in row]
                         for n, row in decoded(ui.run, i).items()}  # fmt: skip
        title = ui.stream.outputs[0]["data"]["application/vnd.plotly.v1+json"]["layout"]["title"]
        assert title["text"].endswith(steps[i])
    assert shown["sum"] == ["_"] * 5 + list("734")
    assert re.findall("bold.>(.*?)<", ui.values.value) == ["sum"]


def test_a_patch_travels_and_is_undone(ui):
    before = ui.values.value
    ui.variable.value, ui.position.value = "kind", 7
    assert [value for _, value in ui.value.options] == ["absorbs", "passes", "generates"]
    ui.value.value = "absorbs"
    ui.set.click()
    assert said(ui) == [("network", "724"), ("Python", "734"), ("reference", "724")]
    assert ["kind", "7", "generates", "absorbs"] in cells(ui.changes.value)
    assert ["carry", "6", "True", "False"] in cells(ui.changes.value)
    assert ui.values.value.count("background:") == len(cells(ui.changes.value)) - 1
    ui.unset.click()
    assert ui.values.value == before
    assert not ui.changes.value
    assert said(ui)[0] == ("network", "734")


@pytest.mark.parametrize(
    ("text", "message"),
    [("47x+1", "'x'"), ("1+1=", "="), ("9" * 200 + "+1", "192"), ("", "input")],
    ids=["symbol", "end", "long", "nothing"],
)
def test_bad_input_says_so_in_place_and_nothing_is_lost(ui, text, message):
    before = ui.values.value
    ui.text.value = text
    assert 'role="alert"' in ui.message.value
    assert message in html.unescape(ui.message.value)
    assert ui.values.value == before
    ui.set.click()
    ui.unset.click()
    assert said(ui)[0] == ("network", "734")
    ui.text.value = "1+1"
    assert not ui.message.value
    assert said(ui)[0] == ("network", "2")


def test_a_program_comes_with_an_input(ui):
    ui.text.value = EXAMPLES["parity"]
    assert 'role="alert"' in ui.message.value
    ui.program.value = "parity"
    assert not ui.message.value
    assert said(ui)[0] == ("network", "0")
    assert list(ui.head.options) == ["parity"]
    ui.program.value = "copy"
    assert ui.head.value is None
    assert not ui.attention.outputs
    ui.program.value = "subtraction"
    assert said(ui)[0] == ("network", "-222")


def test_a_longer_input_takes_a_larger_network(ui):
    ui.text.value = "9" * 20 + "+1"
    assert ui.run.inspected.compiled.window == 48
    assert said(ui)[0] == ("network", "1" + "0" * 20)


def test_the_first_input_may_be_bad():
    view = wb.ui.compiled("addition", "x")
    assert 'role="alert"' in view.message.value
    assert view.static() == view.message.value
    view.set.click()
    assert "input first" in view.message.value
    view.text.value = "2+2"
    assert said(view)[0] == ("network", "4")
    view.close()
    with pytest.raises(ValueError, match="did you mean 'addition'"):
        wb.ui.compiled("additon")


def test_the_margins_and_the_picture_are_of_this_input(ui):
    assert [row[0] for row in cells(ui.margins.value)[1:]] == ["float32", "bfloat16", "float16"]
    assert {row[1] for row in cells(ui.margins.value)[1:]} == {"1"}
    still = ui.static()
    assert "734" in still
    assert "layer 2 heads" in still
    assert "float16" in still
