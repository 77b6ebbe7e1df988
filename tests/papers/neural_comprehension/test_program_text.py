"""Programs as text: they mean what Python means by them, and nothing in them is run."""

import os
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import CompileBudgetError, ProgramTextError
from workbench.papers.neural_comprehension.autoconn import spelled
from workbench.papers.neural_comprehension.program_text import (
    MOST_CHARACTERS,
    MOST_NODES,
    read_program,
)
from workbench.papers.neural_comprehension.reference import evaluate

WINDOW = 8


def meaning(text, given, vocabulary="0123456789abc="):
    return evaluate(read_program(text, vocabulary, WINDOW), given)


def test_a_program_is_lines_of_names_and_the_last_is_it():
    text = """
        # How many ones?
        one = "1"
        ones = Select(token, token, lambda key, query: key == one)
        count = Count(ones, lambda n: n)
        twice = Number(lambda n: 2 * n, count)
        halves = Category(lambda n: str(n), twice - position + 1, 0, window)
        halves
        """
    lines = "\n".join(line.strip() for line in text.splitlines())
    assert meaning(lines, "1011") == ["7", "6", "5", "4"]
    assert str(read_program(lines, "01", WINDOW)) == "halves (Category, line 7)"


BODIES = [
    "t == '1'", "t in ('1', '2', 'a')", "t not in ['1', '2']", "t.isdigit() and int(t) > 4",
    "t.isalpha() or t == '='", "not t.isdigit()", "int(t) % 3 if t.isdigit() else None",
    "str(ord(t) // 7 - 2 * 3)", "'1' <= t < '5'", "t + 'x' + t", "-ord(t)", "max(t, '4')",
    "min(ord(t), 60) * -1", "abs(ord(t) - 60)", "len(t + 'ab')", "('odd', 'even')[ord(t) % 2]",
    "t.upper()", "t.startswith('1')", "t is None", "'in' if t in '123' else 'out'",
    "0 or t", "t and 0", "(t != '=') is not False", "None if t == '=' else 'x'",
    "'abc'[ord(t) % 3]",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_function_gives_what_python_gives(body):
    symbols = "0123456789abc="
    right = [eval(body, {"t": t}) for t in symbols]
    assert meaning(f"Map(lambda t: {body}, token)", symbols) == right


def test_true_is_not_one_to_a_function_that_remembers():
    text = """f = lambda v, t: str(v)
x = Map(lambda t: t == '1', token)
y = Map(lambda t: int(t), token)
Zip(lambda a, b: a + b, (Zip(f, (x, token)), Zip(f, (y, token))))"""
    assert meaning(text, "10") == ["True1", "False0"]


@settings(max_examples=150, deadline=None)
@given(st.recursive(
    st.sampled_from(["a", "b", "3", "-2", "0", "7"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", "and",
                                                    "or", ">="]), inner).map(
        lambda parts: f"({' '.join(parts)})"),
    max_leaves=8,
), st.integers(-9, 9), st.integers(-9, 9))  # fmt: skip
def test_arithmetic_is_python_s(body, a, b):
    text = f"x = Map(lambda t: {a}, token)\ny = Map(lambda t: {b}, token)\n"
    program = read_program(f"{text}Zip(lambda a, b: {body}, (x, y))", "0", WINDOW)
    try:
        right = eval(body, {"a": a, "b": b})
    except ZeroDivisionError:
        with pytest.raises(ProgramTextError, match="zero"):
            evaluate(program, "0")
        return
    assert evaluate(program, "0") == [right]


DOUBLED = "n = position\n" + "n = n + n\n" * 90
ATTACKS = {
    "import": "import os",
    "call of import": "__import__('os').system('touch attacked')",
    "open": "Map(lambda t: open('attacked', 'w'), token)",
    "exec": "exec('x = 1')",
    "eval in a function": "Map(lambda t: eval('1'), token)",
    "where it is never reached": "Map(lambda t: t if True else __import__('os'), token)",
    "attribute that is never reached": "Map(lambda t: t if True else t.__class__, token)",
    "method that is never reached": "Map(lambda t: t if True else t.format(t), token)",
    "text of 65 characters": f"Map(lambda t: '{'a' * 65}', token)",
    "class of a tuple": "().__class__.__bases__[0].__subclasses__()",
    "class of a value": "Map(lambda t: t.__class__, token)",
    "attribute of a node": "token.vocabulary",
    "method that is not listed": "Map(lambda t: t.zfill(9), token)",
    "format": "Map(lambda t: '{0.__class__}'.format(t), token)",
    "f-string": "Map(lambda t: f'{t.__class__}', token)",
    "percent": "Map(lambda t: '%999999999d' % 1, token)",
    "join": "Map(lambda t: t.join(('a', 'b')), token)",
    "replace": "Map(lambda t: t.replace('', 'aaaa'), token)",
    "power": "Map(lambda t: 9**9**9, token)",
    "shift": "Map(lambda t: 1 << 999999999, token)",
    "long text": "Map(lambda t: t * 999999, token)",
    "long text the other way": "Map(lambda t: 999999 * t, token)",
    "long tuple": "Map(lambda t: ('a',) * 999999, token)",
    "long sum of texts": "x = 'aaaaaaaa'\n" + "x = x + x\n" * 30 + "token",
    "large number": "Map(lambda t: 99999999999, token)",
    "number of 4800 digits": f"Map(lambda t: 0x{'f' * 3900}, token)",
    "product": "x = 999999\n" + "x = x * x\n" * 30 + "token",
    "comprehension": "Map(lambda t: [x for x in range(10)], token)",
    "comprehension of a comprehension": "[[x for x in y] for y in token]",
    "generator": "Map(lambda t: sum(x for x in range(10**9)), token)",
    "loop": "while True: pass",
    "function": "def f(t):\n    return f(t)\nMap(f, token)",
    "class": "class A: pass",
    "recursion": "f = lambda t: f(t)\nMap(f, token)",
    "recursion without a name": "Map(lambda t: (lambda f: f(f))(lambda f: f(f)), token)",
    "function out of a function": "Map(lambda t: (lambda: 1), token)",
    "function handed in": "Map(lambda t: max((lambda: 1, lambda: 2)), token)",
    "walrus": "(x := token)",
    "star": "Zip(*(token, token))",
    "two stars": "Map(**{'function': str, 'of': token})",
    "default": "Map(lambda t, u=1: t, token)",
    "any number of arguments": "Map(lambda *t: t[0], token)",
    "slice": "Map(lambda t: t[::-1], token)",
    "dictionary": "Map(lambda t: {'a': 1}[t], token)",
    "bytes": "Map(lambda t: b'a', token)",
    "float": "Map(lambda t: 1e999, token)",
    "ellipsis": "Map(lambda t: ..., token)",
    "await": "await token",
    "delete": "del token",
    "a word of the language": "Map = 1",
    "two names": "a, b = token, token",
    "a part of a name": "token.name = 'x'",
    "annotation": "x: int = 1",
    "where": "Map(lambda t: t, token, where='x')",
    "unknown argument": "Map(lambda t: t, token, other=1)",
    "no function": "Map(token, token)",
    "a class as function": "Map(Map, token)",
    "no node": "Map(lambda t: t, 1)",
    "a number for a value": "Map(lambda t: t, position)",
    "nothing zipped": "Zip(lambda: 1, ())",
    "tuple of tuples": "x = ('a', 'b')\n" + "x = (x, x)\n" * 30 + "token",
    "nodes": "x = token\n" + "x = Map(lambda t: t, x)\n" * (MOST_NODES + 1) + "x",
    "sums of sums in a message": f"{DOUBLED[:463]}Zip(lambda a, b: a, (token, n))",
    "sums of sums": f"{DOUBLED}Category(lambda v: v, n, 0, 9)",
    "product of nodes": "Category(lambda v: v, position * position, 0, 9)",
    "deep": "Map(lambda t: " + "not " * 990 + "t, token)",
    "very deep": "-" * 3990 + "1",
    "brackets": "(" * 1500 + ")" * 1500,
    "many functions": "lambda: " * 400 + "1",
    "many parts": "(" + "1," * 1900 + ")",
    "very long": "#" * MOST_CHARACTERS + "\ntoken",
    "null": "token\0",
    "half a pair": "Map(lambda t: '\ud800', token)\ud800",
    "no program": "1",
    "nothing": "",
    "a selector": "Select(token, token, lambda k, q: True)",
    "a sentence": "Sure, here is the program:",
    "not named": "Map(lambda t: u, token)",
    "too few arguments": "Zip(lambda a: a, (token, token))",
}  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_what_is_no_program_is_refused_at_once_and_never_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    modules, begun = set(sys.modules), time.process_time()
    with pytest.raises((ProgramTextError, CompileBudgetError)) as refused:
        meaning(text, "12a")
    assert 0 < len(str(refused.value)) < 300
    assert time.process_time() - begun < 5
    assert not os.listdir(tmp_path)
    assert set(sys.modules) == modules


def test_the_line_is_named():
    with pytest.raises(ProgramTextError, match=r"line 3: 'eval\(t\)' is not in the language"):
        read_program("a = 1\n\nMap(lambda t: eval(t), token)", "01", WINDOW)


def test_functions_stop_after_their_steps():
    far = "Category(lambda n: n, position * 60000, 0, 900000)"
    program = read_program(far, "01", WINDOW)
    with pytest.raises(CompileBudgetError, match="steps"):
        list(map(program.function, range(10**6)))


def test_outputs_are_spelled():
    assert spelled(meaning("Map(lambda t: t if t in 'ab' else None, token)", "a1b")) == "a_b"


def test_what_is_no_text_vocabulary_or_window_is_named():
    for text in (None, 5, b"token", ["token"]):
        with pytest.raises(ProgramTextError, match="read from a text"):
            read_program(text, "01", WINDOW)
    for vocabulary in (None, 5, [0, 1], ""):
        with pytest.raises(TypeError, match=r"token .*vocabulary is .*it must be tuple\[str"):
            read_program("token", vocabulary, WINDOW)
    for window in (None, "8", 0):
        with pytest.raises(ValueError, match="window="):
            read_program("token", "01", window)
