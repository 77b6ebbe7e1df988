"""Chat templates, which come with a model and are programs: their work is counted and bounded.

transformers renders them in a sandbox of Jinja that keeps them from files and objects, not from
running for hours or filling memory. The sandbox here is the same one, with a budget: every block
that is entered and every character that is made costs something, known before it is made.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from transformers.utils import chat_template_utils

from workbench.errors import ModelError

WORK = 100_000_000
"""Characters that one rendering may make, read into calls, or write."""
BLOCK = 100
"""What entering a block, a call, or an element of a list costs: there are a million at most."""
SECONDS = 60
"""For what is slow without making anything, as comparing long texts is."""
SOURCE = 1_000_000
"""Characters of a template; the longest in use have 60,000."""
# Methods and filters that fill up to a width, and that put a text or width at many places.
_FILLING = frozenset("center ljust rjust zfill batch slice".split())
_REPEATING = frozenset("expandtabs indent wordwrap tojson".split())
# These look at the elements of a list, not into them.
_LOOKING = frozenset(
    "length count first last list map select selectattr reject rejectattr default d attr items "
    "reverse unique groupby min max random dictsort sort".split()
)
_NESTED = re.compile(r"\{[^{}]*\{")
_DIGITS = re.compile("[0-9]+")
_FORMATS = frozenset(["format", "format_map", "%"])


class TooMuchWorkError(SecurityError):
    """A template asks for more than `WORK`."""


def render(tokenizer: Any, chat: list[dict[str, str]], name: str) -> str:
    """The text of a chat, the generation prompt on. `name`: the model's, for errors.

    Raises `ModelError` where there is no template, and where it rejects the chat, writes some
    messages and leaves out others, fails, or does not end.
    """
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{name}: the tokenizer has no chat template. Set model.tokenizer.chat_template "
            "(usually the base model's), or pass plain strings instead of messages."
        )
    text = written(tokenizer, chat, name, True)
    unseen = [k for k, m in enumerate(chat) if m["content"].strip() not in text]
    # A template may trim or escape what it writes; what is left out can be anything.
    if unseen:
        left_out = [k for k in unseen if written(tokenizer, _other(chat, k), name, True) == text]
        if 0 < len(left_out) < len(chat):
            role = chat[left_out[0]]["role"]
            raise ModelError(
                f"{name}: the chat template leaves out the {role} message {left_out[0]} of "
                f"{len(chat)}. Put its text into a message that is written (a system prompt's at "
                "the head of the first user message), or set model.tokenizer.chat_template."
            )
    return text


def written(tokenizer: Any, chat: list[dict[str, str]], name: str, prompt: bool) -> str:
    """What the template makes of a chat, with the generation `prompt` or without, unchecked."""
    try:
        return tokenizer.apply_chat_template(chat, add_generation_prompt=prompt, tokenize=False)
    except Exception as error:  # a template is a program, and fails as programs do
        raise ModelError(f"{name}: {_reason(error, chat)}") from error


def _other(chat: list[dict[str, str]], k: int) -> list[dict[str, str]]:
    """The chat with other text in message `k`."""
    return [m if j != k else {**m, "content": f"{m['content']} ?"} for j, m in enumerate(chat)]


def _reason(error: Exception, chat: list[dict[str, str]]) -> str:
    if type(error) is TemplateError:  # raised by the template itself
        return (
            f"the chat template rejects roles {[m['role'] for m in chat]}: {error}. Where the "
            "system role is the problem, put its text at the head of the first user message."
        )
    line = getattr(error, "lineno", None)
    return (
        f"the chat template fails{f' in line {line}' if line else ''}: {type(error).__name__}: "
        f"{error!s:.300}. Set model.tokenizer.chat_template (usually the base model's)."
    )


class _Counting(CodeGenerator):
    """Generates the same code, with its work counted."""

    def blockvisit(self, body: Iterable[nodes.Node], frame: Frame) -> None:
        body = list(body)
        outputs = [node for node in body if isinstance(node, nodes.Output)]
        parts = [part for node in outputs for part in node.nodes]
        own = sum(len(part.data) for part in parts if isinstance(part, nodes.TemplateData))
        self.writeline(f"context.spend({BLOCK + own})")
        super().blockvisit(body, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("str_join((")
        for part in node.nodes:
            self.write("context.counted(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")

    def visit(self, node: nodes.Node, *args: Any, **settings: Any) -> Any:
        counted = isinstance(node, nodes.Dict)
        if isinstance(node, nodes.List):
            counted = not all(isinstance(item, nodes.Const) for item in node.items)
        elif isinstance(node, nodes.Tuple):
            counted = node.ctx == "load"
        if not counted:
            return super().visit(node, *args, **settings)
        self.write("context.counted(")
        super().visit(node, *args, **settings)
        self.write(")")


class _Budget(Context):
    """The state of one rendering, its budget included."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # What is left, what will be left when the clock is next looked at, and when it ends.
        self.left = [WORK, WORK - WORK // 1000, 0.0]

    def derived(self, locals: dict[str, Any] | None = None) -> "_Budget":
        inner = super().derived(locals)
        inner.left = self.left
        return inner

    def spend(self, cost: int) -> None:
        """Take `cost` off what is left."""
        left = self.left
        left[0] -= cost
        if left[0] < left[1]:
            now = time.monotonic()
            left[1] = left[0] - WORK // 1000
            left[2] = left[2] or now + SECONDS
            if left[0] < 0 or now > left[2]:
                raise TooMuchWorkError(
                    f"it does not end, or makes more than {WORK:,} characters of this chat"
                )

    def counted(self, value: Any) -> Any:
        """The value itself, its size spent."""
        self.spend(len(value) if type(value) is str else self.size(value))
        return value

    def size(self, value: Any) -> int:
        """Characters in a value; what is there twice counts twice, as it does when written."""
        if isinstance(value, str):
            return len(value)
        if value is None or isinstance(value, bool):
            return 1
        total, waiting = 0, [value]
        while waiting:
            inner = waiting.pop()
            total += BLOCK + (len(inner) if isinstance(inner, str | bytes) else 0)
            if isinstance(inner, int):
                total += inner.bit_length() // 3
            elif isinstance(inner, dict):
                waiting += [*inner.keys(), *inner.values()]
            elif isinstance(inner, list | tuple | set | frozenset):
                waiting += inner
            elif isinstance(inner, Namespace):
                waiting.append(inner._Namespace__attrs)
            if total + BLOCK * len(waiting) > self.left[0]:
                return WORK + 1
        return total

    def spend_call(self, name: str, value: Any, args: Sequence[Any]) -> None:
        """Spend what a method or filter of `value` may make of it and `args`."""
        if name in _LOOKING or (name == "+" and isinstance(value, list | tuple)):
            return self.spend(len(value) if hasattr(value, "__len__") else BLOCK)
        cost = self.size(value)
        texts = sum(self.size(arg) for arg in args)
        widths = sum(abs(arg) for arg in args if isinstance(arg, int))
        if name in _FILLING:
            cost += widths
        elif name in _REPEATING:
            cost *= 1 + texts + (0 if name == "wordwrap" else widths)
        elif name in _FORMATS and isinstance(value, str):
            # A width may stand in the format ("%9999d"), or be named there ("{:{width}}").
            widths += sum(int(digits[:12]) for digits in _DIGITS.findall(value))
            widths += WORK if _NESTED.search(value) else 0
            cost += (value.count("{") + value.count("%")) * (texts + widths)
        elif name == "replace" and len(args) > 1 and isinstance(value, str):
            cost += value.count(str(args[0])) * self.size(args[1])
        elif name == "join":
            # Of a separator, the method; of the parts, the filter.
            method = isinstance(value, str) and args and not isinstance(args[0], str)
            separator, parts = (value, args[0]) if method else ("".join(map(str, args)), value)
            cost += len(separator) * (len(parts) if hasattr(parts, "__len__") else 1)
        elif name == "sum":
            cost *= cost
        return self.spend(BLOCK + cost + texts)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """transformers' environment for chat templates, each rendering within `WORK`."""

    code_generator_class = _Counting
    context_class = _Budget
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings, optimized=False, finalize=pass_context(_Budget.counted))
        raw, self.filters = self.filters, _Filters()
        for name, function in raw.items():
            self.filters[name] = function
        del self.globals["lipsum"]  # text at random, as much as one likes

    def compile(self, source: Any, *args: Any, **settings: Any) -> Any:
        if isinstance(source, str) and len(source) > SOURCE:
            raise TooMuchWorkError(f"a template of more than {SOURCE:,} characters")
        return super().compile(source, *args, **settings)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if type(left) is str and type(right) is str and operator == "+":
            context.spend(len(left) + len(right))
            return left + right
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length()
            length = right.bit_length() if operator != "**" else bits * abs(right)
            context.spend(max(bits, length) * length // 64)
        elif operator == "*":
            times = max(v if isinstance(v, int) else 1 for v in (left, right))
            context.spend(context.size([left, right]) * max(times, 1))
        else:
            context.spend_call(operator, left, right if isinstance(right, tuple) else (right,))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        if isinstance(__obj, Macro | LoopContext):
            __context.spend(BLOCK)  # its blocks are counted
            return super().call(__context, __obj, *args, **kwargs)
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        value = getattr(method, "__self__", "")
        name = getattr(method, "__name__", "") if isinstance(value, str) else ""
        __context.spend_call(name, value if name else "", (*args, *kwargs.values()))
        return super().call(__context, __obj, *args, **kwargs)


class _Filters(dict[str, Any]):
    """Filters by name, each of which spends what it may make."""

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        takes = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

        @pass_context
        def spending(context: _Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
            context.spend_call(name, value, (*args, *kwargs.values()))
            first = {
                "context": [context],
                "eval_context": [context.eval_ctx],
                "environment": [context.environment],
            }.get(takes, [])
            return function(*first, value, *args, **kwargs)

        super().__setitem__(name, spending)


# transformers makes its environments by this name: so everything that it offers to templates stays
# its own, and what TRL renders is bounded as well.
chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment
chat_template_utils._compile_jinja_template.cache_clear()
