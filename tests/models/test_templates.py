# ruff: noqa: E501
"""Chat templates: what real ones write is unchanged; what hangs, fills memory or fails is named."""

import copy
import sys
import threading
from pathlib import Path

import pytest
import trl
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils import chat_template_utils

from workbench.errors import ModelError
from workbench.models import templates

CHAT = [{"role": "user", "content": "Mend the gate."}]
LONG = [
    {"role": "system", "content": "Be kind."}, *CHAT,
    {"role": "assistant", "content": " <think>\nWell.\n</think>\n\nI mend it. "},
    {"role": "user", "content": "Thanks, {{ 1/0 }} 'x' %s"},
]  # fmt: skip
REAL = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
FEATURES = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' ~ m.content|trim|upper }}{{ '%s' % m.role }}"
    "{{ loop.index0 % 2 }}{{ loop.last }}{{ m.content.split(' ')[::-1] }}{% endfor %}"
    "{{ messages|tojson(indent=2) }}{{ nope }}{% generation %}a{% endgeneration %}"
    "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}"
    "{% if i == 3 %}{% break %}{% endif %}{% endfor %}{{ messages|map(attribute='role')|join('-') }}"
    "{% macro f(x, y=2) %}({{ x * y }}){% endmacro %}{{ f(3) }}{{ f('ab', y=3) }}{{ 2 ** 5 }}"
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}{{ '{:>5}|{}'.format('a', 1.5) }}{{ {'a': [1, (2,)]} }}{{ 'x'|center(5) }}"
    "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ dict(a=1).items()|list }}"
    "{% set t %}a{{ 1 }}{% endset %}{{ t }}{% filter upper %}b{% endfilter %}{{ 'abc'|replace('b', '') }}"
)


def rendered(tokenizer, template, chat=CHAT):
    tokenizer = copy.copy(tokenizer)
    tokenizer.chat_template = template
    return templates.render(tokenizer, chat, "tiny")


@pytest.mark.parametrize(
    "template",
    [FEATURES, *(p.read_text() for p in REAL)],
    ids=["features", *(p.stem for p in REAL)],
)
@pytest.mark.parametrize("chat", [CHAT, LONG, CHAT * 300], ids=["one", "long", "very long"])
def test_templates_write_what_they_write_without_a_budget(tokenizer, monkeypatch, template, chat):
    def answer():
        chat_template_utils._compile_jinja_template.cache_clear()
        try:
            return rendered(tokenizer, template, chat)
        except ModelError as error:
            return str(error)

    bounded = answer()
    monkeypatch.setattr(
        chat_template_utils, "ImmutableSandboxedEnvironment", ImmutableSandboxedEnvironment
    )
    assert bounded == answer()
    chat_template_utils._compile_jinja_template.cache_clear()


def test_every_template_of_the_process_is_bounded(tokenizer):
    compiled = chat_template_utils._compile_jinja_template("{{ messages }}")
    assert type(compiled.environment) is templates.BoundedEnvironment


LOOPS = {
    "ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "with text": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "texts": "{% set s='x'*9**5 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "recursive": "{% set s='x'*9999 %}{% for a in [s] recursive %}{{ loop(s) if loop.depth < 3 }}"
    "{% for b in s %}{% endfor %}{% endfor %}",
    "scoped blocks": "{% for i in range(99999) %}{% block b scoped %}{% for j in range(99999) %}"
    "{% endfor %}{% endblock %}{% endfor %}",
    "callers": "{% macro f() %}{% for i in range(99999) %}{{ caller() }}{% endfor %}{% endmacro %}"
    "{% call f() %}{% for i in range(99999) %}{% endfor %}{% endcall %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "comparisons": "{% set s='x'*10**6 %}{% set t='x'*10**6 %}{% for i in range(99999) %}"
    "{% if s == t %}{% endif %}{% endfor %}",
    "squares": "{% set ns=namespace(x=3) %}{% for i in range(99) %}{% set ns.x=ns.x*ns.x %}{% endfor %}",
}
DOUBLING = {
    kind: "{% set ns=namespace(x=" + start + ") %}{% for i in range(99) %}{% set ns.x="
    + grown + " %}{% endfor %}{{ ns.x }}"
    for kind, start, grown in (
        ("list", "[1]", "[ns.x, ns.x]"), ("tuple", "()", "(ns.x, ns.x)"),
        ("dict", "1", "{'a': ns.x, 'b': ns.x}"), ("dict()", "1", "dict(a=ns.x, b=ns.x)"),
        ("concatenation", "'x'", "ns.x ~ ns.x"), ("sum", "'x'", "ns.x + ns.x"),
        ("join", "'x'", "[ns.x, ns.x]|join"), ("product", "'x'", "ns.x * 2"),
        ("namespace", "1", "namespace(a=ns.x, b=ns.x)"), ("format", "'x'", "'%s%s' % (ns.x, ns.x)"),
    )
}  # fmt: skip
LARGE = [
    "{{ 'x'*10**10 }}", "{% set s = 10**10*'x' %}", "{{ [0]*10**10 }}", "{{ 10**(10**10) }}",
    "{{ 'x'.ljust(10**11) }}", "{{ 'x'.center(10**11) }}", "{{ '1'.zfill(10**11) }}",
    "{{ 'x'|center(10**11) }}", "{{ ('a\n'*10**5)|indent(10**5) }}", "{{ '%99999999999d' % 1 }}",
    "{{ '%*d' % (10**11, 1) }}", "{{ '{:99999999999}'.format(1) }}", "{{ '{:{}}'.format(1, 10**11) }}",
    "{{ ('{0}'*10**5).format('x'*10**6) }}", "{{ '{a:{b}}'.format_map({'a': 1, 'b': 10**11}) }}",
    "{% set s='a'*10**6 %}{{ s.replace('a', s) }}", "{% set s='a'*10**6 %}{{ s|replace('', s) }}",
    "{% set s='a'*10**6 %}{{ s.join(s) }}", "{% set s='a'*10**6 %}{{ s|join(s) }}",
    "{% set s='a'*10**6 %}{{ ([s]*10**5)|join }}", "{{ ('\t'*10**6).expandtabs(10**6) }}",
    "{{ [1]|batch(10**10, 0)|list }}", "{{ [1]|slice(10**10)|list }}", "{{ ([1]*10**6)|tojson(indent=10**6) }}",
    "{% filter center(10**11) %}x{% endfilter %}", "{{ ['a'*10**6]|map('replace', 'a', 'a'*10**6)|list }}",
    "{{ ([[1]]*10**5)|sum(start=[])|length }}", "{% for i in range(99999) %}" + "y" * 2000 + "{% endfor %}",
    "{% set s='y'*10**6 %}{% for i in range(99999) %}{{ s }}{% endfor %}", "x" * 2_000_000,
]  # fmt: skip


@pytest.mark.parametrize(
    "template", [*LOOPS.values(), *DOUBLING.values(), *LARGE],
    ids=[*LOOPS, *DOUBLING, *(t[:50] for t in LARGE)],
)  # fmt: skip
def test_a_template_that_does_not_end(tokenizer, template):
    with pytest.raises(ModelError, match=r"^tiny: the chat template fails: TooMuchWorkError: "):
        rendered(tokenizer, template)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ 1/0 }}", "fails: ZeroDivisionError: division by zero"),
        ("{{ 10.0**400 }}", "fails: OverflowError"),
        ("{{ nope.x }}", "fails: UndefinedError: 'nope' is undefined"),
        ("{{ nope() }}", "fails: UndefinedError"),
        ("{{ 'a' + 1 }}", "fails: TypeError"),
        (
            "{{ messages[0]|nope }}",
            "fails in line 1: TemplateAssertionError: No filter named 'nope'",
        ),
        ("a\n{% if %}", "fails in line 2: TemplateSyntaxError"),
        (
            "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
            "SyntaxError: too many statically nested",
        ),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "fails: RecursionError"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "fails: RecursionError"),
        ("{{ ''.__class__.__mro__ }}", "fails: SecurityError"),
        ("{{ messages.__init__.__globals__ }}", "fails: SecurityError"),
        ("{{ (''|attr('__class__')).mro() }}", "fails: SecurityError"),
        ("{{ '{0.__class__.__mro__}'.format('') }}", "fails: SecurityError"),
        ("{{ messages.append(1) }}", "fails: SecurityError"),
        ("{{ namespace(__class__=1) }}", "fails: SecurityError"),
        ("{% include 'x' %}", "fails: TypeError: no loader"),
        (
            "{{ raise_exception('no such role') }}",
            r"rejects roles \['user'\]: no such role\. Where",
        ),
        (5, "fails: TypeError"),
        ([{"a": 1}], "fails: TypeError"),
        ({"other": "x"}, "fails: ValueError"),
    ],
)
def test_a_template_that_fails_is_named_with_the_reason(tokenizer, template, reason):
    with pytest.raises(ModelError, match=rf"^tiny: the chat template .*{reason}"):
        rendered(tokenizer, template)


def test_a_budget_is_of_one_rendering_in_one_thread(tokenizer, monkeypatch):
    monkeypatch.setattr(templates, "WORK", 50_000)
    template = "{% for i in range(n or 300) %}{{ messages[0].content }}{% endfor %}"
    results = []

    def draw():
        results.extend(rendered(tokenizer, template) for _ in range(20))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert results == ["Mend the gate." * 300] * 80
    with pytest.raises(ModelError, match="TooMuchWork"):
        rendered(tokenizer, template.replace("300", "600"))
