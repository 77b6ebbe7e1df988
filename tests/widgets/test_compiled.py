"""The inspector shows what the network holds, says what it cannot read, and patches."""

import html
import re

import pytest

import workbench as wb
from workbench.papers.neural_comprehension import language
from workbench.papers.neural_comprehension.gallery import brackets
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
    assert re.findall("bold;.*?>(.*?)<", ui.values.value) == ["sum"]


def test_a_patch_travels_and_is_undone(ui):
    before = ui.values.value
    ui.variable.value, ui.position.value = "kind", 7
    assert [value for _, value in ui.value.options] == ["absorbs", "passes", "generates"]
    ui.value.value = "absorbs"
    ui.set.click()
    assert said(ui) == [("network", "724"), ("Python", "734"), ("reference", "724")]
    assert ["kind", "7", "generates", "absorbs"] in cells(ui.changes.value)
    assert ["carry", "6", "True", "False"] in cells(ui.changes.value)
    assert ui.values.value.count("background:#f7cfc6") == len(cells(ui.changes.value)) - 1
    ui.unset.click()
    assert ui.values.value == before
    assert not ui.changes.value
    assert said(ui)[0] == ("network", "734")


@pytest.mark.parametrize(
    ("text", "message"),
    [("47x+1", "'x'"), ("1+1=", "="), ("9" * 200 + "+1", "192"), ("", "it is empty")],
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
    assert not ui.head.value
    assert ui.head.label == "none: it has no heads"
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


def test_the_values_that_are_offered_are_those_of_the_variable(ui):
    for name in [*PROGRAMS, "addition"]:
        ui.program.value = name
        parts = ui.run.inspected
        domain = parts.compiled.domain[parts.variables[ui.variable.value]]
        assert [value for _, value in ui.value.options] == list(domain)
    assert ui.variable.value == "index"
    ui.text.value = "9" * 20 + "+1"
    assert [value for _, value in ui.value.options] == list(range(48))


def test_a_dtype_in_which_it_is_wrong_says_so(ui):
    ui.program.value = "parity"
    wrong = next(n for n in range(60, 97) if _margins(ui, "1" * n)["bfloat16"] < 0)
    right = str(wrong % 2)
    assert said(ui)[0] == ("network", right)
    ui.dtype.value = "bfloat16"
    assert said(ui)[0][1] != right
    assert said(ui)[1:] == [("Python", right), ("reference", right)]
    assert "<s>" in ui.values.value
    assert ui.whole.streams.ne(ui.whole.streams.bfloat16().float()).sum() == 0
    ui.set.click()  # the first symbol is 0, then
    assert ui.run.meant[ui.run.inspected.compiled.program][0] == str((wrong - 1) % 2)
    ui.dtype.value = "float32"
    assert said(ui)[0] == ("network", right)
    assert "<s>" not in ui.values.value


def _margins(ui, text):
    ui.text.value = text
    return {name: float(margin) for name, margin in cells(ui.margins.value)[1:]}


def test_a_program_of_one_s_own_is_looked_into():
    view = wb.ui.compiled(brackets, "(())")
    assert said(view) == [("network", "yes yes yes yes"), ("reference", "yes yes yes yes")]
    view.program.value = "addition"
    assert said(view)[0] == ("network", "734")
    view.program.value = "your own"
    assert view.text.value == "(())"
    view.text.value = "(()"
    assert said(view)[0] == ("network", "no no no")
    view.text.value = "(" * 193
    assert "193 symbols; it reads 192 at most" in view.message.value
    view.close()


def test_a_number_is_short_and_one_s_own_program_says_what_it_does_not_read():
    def middle(window):
        token = language.Token(("0", "1"))
        every = language.Select(token, token, lambda key, query: True)
        mean = language.Average(every, language.Position(name="position"), name="mean")
        return language.Category(str, mean, 0, window)

    view = wb.ui.compiled(middle)
    assert "it is empty" in view.message.value
    view.text.value = "0" * 15
    assert {*cells(view.values.value)[3]} == {"mean", "7"}
    view.text.value = "00"
    assert "1/2 is no whole number" in view.message.value
    view.close()
