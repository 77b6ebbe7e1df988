"""Symbolic rules: behind which text a compiled network answers, with what, and where in a text."""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workbench.arguments import listed, shown
from workbench.errors import ProgramInputError
from workbench.hashing import canonical, checksums, digest
from workbench.models.limits import out_of_memory
from workbench.papers.neural_comprehension.tasks import WINDOWS, Task, task

SPECIAL = "\ufffc"
"""Stands in a row's text for a special token."""
_REACH = 8192
"""Characters before a trigger that a pattern sees."""
_SIGNS = {"addition": "+", "subtraction": "-"}
_WHOLE = "(?:0|[1-9][0-9]*)"  # 2024-01 is a date
_READS = {name: rf"{_WHOLE}[{sign}]{_WHOLE}" for name, sign in _SIGNS.items()}
_READS |= {"parity": "[01]+"} | dict.fromkeys(("reverse", "copy", "last_letter"), "[a-z]+")
_NUMBER = rf"[^\s=\d{SPECIAL}]*\d[^\s=]*"
# What is calculated right before, or a thousand apart, belongs to the first number, which then is
# none: nothing is answered for a part of an expression.
_EARLIER = (
    r"(?:[^\s=]*\s?[-+*/^%×÷·−–xX√]\s|(?<![^\s=])[0-9]{1,3}[^\S\n](?=[0-9]{3}(?![0-9]))|(?i:minus"
    r"|negative|plus|times|over|by|mod|div|(?:log|ln|exp|abs|sqrt|root|sin|cos|tan)[0-9]*)\s)?"
)
_OPENED = r"(?:[A-Za-z]\w*:)?(?:(?<![\d)\]][^\S\n])(?<!\W\w[^\S\n])[\"'`(\[{*]*)?"


@dataclass(frozen=True)
class Abstained:
    """No answer, and why: a word, a colon and what was met."""

    reason: str


@dataclass(frozen=True)
class SymbolicRule:
    """A text that is answered, and what answers.

    `pattern`: a regular expression that ends in `trigger`; what its groups capture, joined, is the
    input. `run` answers a list of inputs, each by a text or `Abstained`. `sep`: what stands between
    trigger and answer; None: a space where earlier in the text, or else before the trigger, there
    is one. `guard`: no token that begins so follows an answer. `identity`: a text that changes with
    the answers; without one there is no gate beside a store. `most`: words that a match has at most
    (0: any number), so that no others are looked through.

    Raises `ValueError` for a pattern without groups, or that does not end in its trigger.

    >>> SymbolicRule("shout", r"shout (\\w+) =", lambda words: [w.upper() for w in words], guard="")
    """

    name: str
    pattern: str
    run: Callable[[list[str]], Sequence[str | Abstained]]
    trigger: str = "="
    sep: str | None = None
    guard: str = "0123456789.,"
    identity: Callable[[], str] | None = None
    most: int = 0
    regex: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        words = f"rule {self.name}: pattern={shown(self.pattern)}"
        ends = (self.trigger, re.escape(self.trigger))
        if not self.trigger or self.trigger[-1].isspace() or not self.pattern.endswith(ends):
            raise ValueError(
                f"{words} must end in its trigger, {shown(self.trigger)}, and that in no space"
            )
        try:
            regex = re.compile(rf"(?:{self.pattern})\Z")
        except re.error as error:
            raise ValueError(f"{words} is no regular expression: {error}") from None
        if not regex.groups:
            raise ValueError(f"{words} has no groups: what they capture is the network's input")
        object.__setattr__(self, "regex", regex)

    def fingerprint(self) -> str | None:
        """What a sample's identity holds of it; None without an `identity`."""
        mark = [self.name, self.pattern, self.trigger, self.sep, self.guard, self.most]
        return canonical([*mark, self.identity()]) if self.identity else None


def task_rule(
    name: str, *, trigger: str = "", normalise: Callable[[str], str] | None = None
) -> SymbolicRule:
    """The rule of one of `tasks.TASKS`: its network answers behind what `asked` writes.

    It abstains for what the network does not read: `1,234`, `3.5`, `-7` or a part of a longer sum,
    capital letters; unless `normalise` makes of the input (`"1,234+5"`) one that it does. Else it
    takes a text at its word: `1990-2000 =` is a difference, and "twice 3+4=" holds a sum.
    `trigger`: `=` for sums, else `->`; one that is a word ("is") wants quotes around a word.

    Raises `ValueError` for an unknown task.

    >>> gate = Gate([task_rule("addition"), task_rule("reverse", trigger="is")])
    """
    of, trigger = task(name), trigger or _trigger(name)
    gap = r"\s" if trigger[-1:].isalpha() else r"\s?"
    if name in _SIGNS:
        sign = re.escape(_SIGNS[name])
        first = rf"(?<![^\s={SPECIAL}]){_OPENED}({_EARLIER}{_NUMBER})"
        pattern = rf"{first}[^\S\n]?({sign})[^\S\n]?({_NUMBER}){gap}"
    else:
        quote = "" if gap == r"\s" else "?"
        word = rf"[\"'`“‘]{quote}([^\s\"'`“”‘’]+)[\"'`”’]{quote}"
        pattern = rf"(?<!\w)(?<!of\s)(?<!of\sthe\s)(?i:{name.replace('_', ' ')} of)\s{word}{gap}"

    def run(given: list[str]) -> list[str | Abstained]:
        read = [normalise(text) if normalise else text for text in given]
        refused = [_refusal(of, text) for text in read]
        answers = iter(
            of.run([text for text, why in zip(read, refused, strict=True) if why is None])
        )
        return [next(answers) if why is None else why for why in refused]

    return SymbolicRule(
        name, pattern + re.escape(trigger), run, trigger,
        guard="0123456789.," if name in (*_SIGNS, "parity") else string.ascii_letters,
        identity=None if normalise else lambda: _weights(of), most=6,
    )  # fmt: skip


def coin_flip_rule() -> SymbolicRule:
    """The paper's chain `1 0 1 ->`, answered by the network of parity; of two flips at least."""
    parity = task_rule("parity")

    def run(given: list[str]) -> Sequence[str | Abstained]:
        return parity.run([re.sub(r"(?<!\S)(\S)\s+(?=\S(?!\S))", r"\1", text) for text in given])

    # All that is counted on the line, whatever it is: nothing is answered for a part of it.
    flip, first = r"\d\S*(?<!:)", rf"(?<![^\s{SPECIAL}])((?:->[^\S\n]+)?[^\s\d{SPECIAL}]*"
    pattern = rf"{first}{flip}(?:[^\S\n]+[^\s\d]*{flip})+)\s?->"
    return SymbolicRule("coin_flip", pattern, run, "->", identity=parity.identity)


def checked(rules: Sequence[SymbolicRule | str]) -> list[SymbolicRule]:
    """Rules, names of tasks as theirs. Raises `ValueError` for what is none, or two alike."""
    out = [task_rule(rule) if isinstance(rule, str) else rule for rule in listed("rules", rules)]
    for rule in out:
        if not isinstance(rule, SymbolicRule):
            raise ValueError(f"rules hold {shown(rule)}: a SymbolicRule or the name of a task")
        same = [r.name for r in out if rule.name == r.name or rule.pattern == r.pattern]
        if len(same) > 1:
            raise ValueError(f"rules {' and '.join(same)} have one name, or one pattern")
    return out


def asked(name: str, given: str, trigger: str = "") -> str:
    """The text behind which the rule of a task answers `given`: `12+34=`, `reverse of abc ->`."""
    trigger = trigger or _trigger(name)
    wordy = trigger[-1:].isalpha()
    if name in _SIGNS:
        return f"{given} {trigger}" if wordy else given + trigger
    word = f'"{given}"' if wordy else given
    return f"{name.replace('_', ' ')} of {word} {trigger}"


def _trigger(name: str) -> str:
    return "=" if name in _SIGNS else "->"


def _refusal(of: Task, given: str) -> Abstained | None:
    """Why the network of a task does not read this, None where it does."""
    if SPECIAL in given:
        return Abstained(f"special_token: there is one in {given!r:.60}")
    if not re.fullmatch(_READS[of.name], given):
        return Abstained(f"no_input: {of.name} does not read {given!r:.60}")
    try:
        of.window(len(of.symbols(given)))
    except ProgramInputError as error:
        return Abstained(f"too_long: {error}")
    return None


def _weights(of: Task) -> str:
    """Digest of all networks that may answer: an answer comes from the least that holds it."""
    networks = [of.network(window) for window in WINDOWS]
    return digest(
        [[n.config.vocabulary, n.config.outputs, checksums(n.parameters())] for n in networks]
    )


@dataclass(frozen=True)
class Place:
    """Where a text asks a rule: `asked` is what its pattern matched, `given` the network's input,
    `done` the text behind it and `sep` what an answer begins with. `tied`: rules that match alike.
    """

    rule: SymbolicRule
    start: int
    asked: str
    given: str
    sep: str
    done: str
    tied: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What its answer depends on."""
        return (self.rule.name, self.tied or self.given)


def place_at(rules: Sequence[SymbolicRule], text: str, stop: int) -> Place | None:
    """What the text before `stop` asks, by the longest match; None where it asks nothing."""
    matches = [
        (rule, match)
        for rule in rules
        if text.endswith(rule.trigger, 0, stop)
        and (match := rule.regex.search(text, _begin(text, stop, rule.most), stop))
    ]
    if not matches:
        return None
    start = min(match.start() for _, match in matches)
    (rule, match), *others = [pair for pair in matches if pair[1].start() == start]
    given = "".join(group or "" for group in match.groups())
    sep = _sep(rule.trigger, text, start, stop) if rule.sep is None else rule.sep
    tied = ", ".join([rule.name, *(other.name for other, _ in others)]) if others else ""
    return Place(rule, start, match[0], given, sep, text[stop:], tied)


def _begin(text: str, stop: int, most: int) -> int:
    """Where the last words before `stop` begin, or `_REACH` characters before it."""
    begin = max(0, stop - _REACH)
    rest, *words = text[begin:stop].rsplit(None, most) if most else ("",)
    return begin + len(rest) if len(words) == most else begin


def _sep(trigger: str, text: str, start: int, stop: int) -> str:
    """A space where the last such trigger before has one behind it, or else where this has one
    before it.
    """
    spaced = text[: stop - len(trigger)].endswith(" ")
    earlier = re.findall(rf"(.?){re.escape(trigger)}(\s?)", text[:start])
    behind = [after == " " for before, after in earlier if (before == " ") == spaced]
    return " " if (behind[-1] if behind else spaced) else ""


def stops(rules: Sequence[SymbolicRule], text: str, least: int) -> list[int]:
    """Where triggers end, from `least` on, in order."""
    triggers = {rule.trigger for rule in rules}
    ends = (re.compile(f"(?<={re.escape(t)})").finditer(text, max(0, least)) for t in triggers)
    return sorted({match.end() for matches in ends for match in matches})


def answers(places: Sequence[Place]) -> list[str | Abstained]:
    """What the rules answer to each, one call a rule; where it raises, each by itself.

    Raises what is about memory, which a caller may get by with smaller batches.
    """
    out: list[str | Abstained] = [Abstained(f"ambiguous: {p.tied} match alike") for p in places]
    for rule in {place.rule.name: place.rule for place in places}.values():
        mine = [i for i, p in enumerate(places) if p.rule.name == rule.name and not p.tied]
        inputs = list(dict.fromkeys(places[i].given for i in mine))
        known = dict(zip(inputs, _run(rule, inputs), strict=True)) if inputs else {}
        for i in mine:
            out[i] = known[places[i].given]
    return out


def _run(rule: SymbolicRule, given: list[str]) -> list[str | Abstained]:
    try:
        out = list(rule.run(given))
        if len(out) != len(given) or not all(isinstance(a, str | Abstained) and a for a in out):
            raise ValueError(f"{shown(out)} is no answer for each of {len(given)} inputs")
    except Exception as error:  # a rule is anyone's program
        if isinstance(error, MemoryError) or out_of_memory(error):
            raise
        if len(given) > 1:
            return [answer for each in given for answer in _run(rule, [each])]
        return [Abstained(f"raised: {type(error).__name__}: {error}")]
    return out
