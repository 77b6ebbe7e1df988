"""What is asked and what is read off: against patterns of the gate, and Python's own arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.papers.neural_comprehension import prompts
from workbench.papers.neural_comprehension.paper import ARITHMETIC, CHATS, TASKS
from workbench.papers.neural_comprehension.rules import place_at
from workbench.papers.neural_comprehension.stories import calculated
from workbench.papers.neural_comprehension.tasks import TASKS as BY_NAME

INPUTS = {"parity": "1101", "addition": "12+345", "subtraction": "12-345"}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("shots", [0, 4, 8])
def test_a_prompt_asks_the_rule_of_its_task_for_its_own_input(task, shots):
    text = prompts.put(task, INPUTS.get(task, "stone"), shots)
    place = place_at(prompts.gate().rules, text, len(text))
    assert (place.rule.name, place.given) == (task, INPUTS.get(task, "stone"))
    lines = text.split("\n")
    assert len(lines) == shots + 1
    # An exemplar is what the prompt becomes with the right reply.
    for line in lines[:-1]:
        trigger = "=" if task in ARITHMETIC else " ->"
        asked, _, answer = line.partition(trigger)
        place = place_at(prompts.gate().rules, asked + trigger, len(asked + trigger))
        assert answer == place.sep + BY_NAME[task].answer(place.given)


@pytest.mark.parametrize(("task", "name"), CHATS.items())
def test_a_question_in_a_chat_holds_the_input_and_no_trigger(task, name):
    (message,) = prompts.put(name, "1101" if task == "parity" else "stone")
    text = message["content"]
    rules = prompts.gate(chat=True).rules
    # The form of an answer is shown with dots, which no network reads.
    places = filter(None, (place_at(rules, text, i) for i in range(len(text) + 1)))
    assert {place.given for place in places} <= {"..."}
    reply = f'The {task} of "{"1101" if task == "parity" else "stone"}" is'
    assert place_at(rules, reply, len(reply)).rule.name == task


@pytest.mark.parametrize(
    ("reply", "before", "behind"),
    [("65+48=113.", "65+48", "113"), (" 1 0 1 -> 0", "1 0 1", "0"), ("no idea", "", ""),
     ("1+1=2. 2+5=7.", "1+1", "7"), ("5-9=-4.", "5-9", "-4"), ("a=", "a", ""), ("", "", "")],
)  # fmt: skip
def test_replies_are_read(reply, before, behind):
    assert prompts.before(reply) == before
    assert prompts.behind(reply) == behind
    assert prompts.behind("1+1=2. 2+5=7.", 0) == "2"


def test_answers_end_where_they_end():
    assert prompts.answer_of(" enots. More") == "enots"
    assert prompts.answer_of("113") == "113"
    assert prompts.answer_of("-4\n") == "-4"
    assert prompts.answer_of("1130") != "113"
    assert prompts.answer_of(". 5") == ""
    assert prompts.answer_of("46.") == prompts.answer_of("46, so") == "46"
    assert prompts.answer_of("46.5") == "46.5"
    assert prompts.answer_of(" 1,234.") == "1234"
    assert prompts.answer_of("46,5") == prompts.answer_of("1.2.3") == ""
    assert prompts.said('The reverse of "stone" is "enots".') == "enots"
    assert prompts.said("It is even, so the parity is: 0") == "0"
    assert prompts.said("I cannot tell.") == ""


expressions = st.recursive(
    st.integers(0, 10**30).map(str),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({''.join(t)})")
        | inner.map(lambda text: f"(-{text})")
    ),
    max_leaves=8,
)


@given(expressions)
def test_expressions_have_the_value_that_python_gives_them(text):
    assert calculated(text) == str(eval(text))


@pytest.mark.parametrize(
    "text",
    ["", "x", "1/2", "2**9", "1.5+1", "print(1)", "__import__('os').getcwd()", "True+1", "'a'*3",
     "1 if 2 else 3", "[1][0]", "1,2", "-" * 30 + "1", "(" * 300 + "1" + ")" * 300, "1+", "01+2",
     "1;2", "lambda: 1", "\0", "9" * 10000],
)  # fmt: skip
def test_anything_else_is_no_expression(text):
    assert calculated(text) == ""
