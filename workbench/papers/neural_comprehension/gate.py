"""The gate: behind a trigger the next tokens come from a compiled network, not from the model."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from workbench.arguments import finite, one_of, shown
from workbench.generation.reply_logprobs import logprobs_of_ends
from workbench.generation.rules import RowTokens, Rule
from workbench.hashing import canonical
from workbench.models.model import Model
from workbench.models.prompts import Encoded
from workbench.papers.neural_comprehension.rules import (
    SPECIAL,
    Abstained,
    Place,
    SymbolicRule,
    answers,
    checked,
    place_at,
    stops,
)
from workbench.papers.neural_comprehension.vocabulary import Vocabulary, vocabulary_of

WINDOW = 512
"""Tokens of a row that are read for a trigger; all of them where a match may begin before."""
_EDGE = 64
_LONGEST = 512
"""Characters that an answer may have, with what follows, to be looked for."""
_REMEMBERED = 4096
_WORD = re.compile(rf"[^\s{SPECIAL}]{{{_EDGE}}}")


@dataclass
class Forced:
    """One answer of a rule in one row. `ids`: its tokens, which come (in mode observe: would)
    behind the ids `before`. `step`: how many new tokens there were (for a processor: all).

    `logprobs` (nats) and `agreed` per token: the model's own, and whether it was its likeliest.
    """

    rule: str
    asked: str
    given: str
    answer: str
    ids: list[int]
    before: tuple[int, ...] = field(repr=False)
    step: int
    logprobs: list[float] = field(default_factory=list, repr=False)
    agreed: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class Abstention:
    """A place where a rule was asked and did not answer, and why: a word, a colon, what was met."""

    rule: str
    asked: str
    given: str
    reason: str


@dataclass(frozen=True)
class Due:
    """What a row asks for: the `ids` of what its `answer` still lacks, none where it is whole."""

    place: Place
    answer: str
    ids: list[int]


class Gate(Rule):
    """Symbolic rules (or names of tasks) as one `wb.Rule` while decoding.

    Behind a trigger the rule with the longest match answers, and all tokens of the answer are
    forced; no token that goes on with its digits follows, at once or, where a point may follow,
    behind that (`SymbolicRule.guard`). `mode`: `"hard"`
    does that, `"bias"` adds `bias` to the logits of the answer's tokens instead, and takes it from
    the guard's; `"observe"` leaves all as it is. A row in which no rule answers is the model's.

    `log` holds every answer, `abstentions` why there was none; of rows that are decoded again (when
    memory ran out) twice, and of those that a store has nothing. An answer that a stop string or
    the last token cuts is in the log as a whole.

    In the engine a trigger is seen when it ends the row, or its last token. An answer that a prompt
    holds the beginning of is gone on with.

    Raises `ValueError` for rules that are none or alike, and a bias that is missing or too much.

    >>> gate = Gate(["addition", "subtraction"])
    >>> wb.generate(model, ["12345678+87654321="], rule=gate)
    >>> gate.log[0].answer, gate.measure(model)
    """

    from_start = True

    def __init__(
        self, rules: Sequence[SymbolicRule | str], mode: str = "hard", bias: float | None = None
    ) -> None:
        self.rules = checked(rules)
        self.mode = one_of("mode", mode, ("hard", "bias", "observe"))
        if (bias is None) == (mode == "bias"):
            raise ValueError(f"mode={mode!r} and bias={shown(bias)}: only mode='bias' has one")
        self.bias = 0.0 if bias is None else finite("bias", bias, above=0)
        self.log: list[Forced] = []
        self.abstentions: list[Abstention] = []
        self._known: dict[tuple[str, str], str | Abstained] = {}
        self._going: dict[tuple[int, ...], list[Forced]] = {}
        self._vocabularies: dict[int, Vocabulary] = {}
        self._asked: dict[tuple[int, ...], Due | None] = {}

    def fingerprint(self) -> str | None:
        """Changes with the rules, the weights of their networks, and the mode."""
        marks = [rule.fingerprint() for rule in self.rules]
        return None if None in marks else canonical(["Gate", self.mode, self.bias, marks])

    def triggers(self, model: Model) -> Collection[int] | None:
        """The tokens that can complete a rule's trigger. Raises `ModelError` where none can."""
        vocabulary = vocabulary_of(model.tokenizer)
        hot = vocabulary.completing(frozenset(rule.trigger for rule in self.rules))
        if any("0" in rule.guard and "." not in rule.guard for rule in self.rules):
            hot = sorted({*hot, *vocabulary.points})
        self._vocabularies[id(model.tokenizer)] = vocabulary
        return None if self.mode == "bias" else [i for i in hot if i < model.n_tokens]

    def forced(self, model: Model, rows: Sequence[RowTokens]) -> Sequence[Sequence[int]]:
        """The whole answer behind a trigger; the engine queues it."""
        if self.mode == "bias":
            return [()] * len(rows)
        ids = [(*row.prompt, *row.new) for row in rows]
        dues = self.due(self._vocabularies[id(model.tokenizer)], ids)
        self._asked = dict(zip(ids, dues, strict=True))
        for row, before, due in zip(rows, ids, dues, strict=True):
            if due and due.ids:
                self._entry(due, due.ids, before, len(row.new))
        return [due.ids if due and self.mode == "hard" else () for due in dues]

    def logits(self, model: Model, rows: Sequence[RowTokens], logits: torch.Tensor) -> torch.Tensor:
        """In mode bias as a processor's; else what may not follow the answers that are whole."""
        vocabulary = self._vocabularies[id(model.tokenizer)]
        ids = [(*row.prompt, *row.new) for row in rows]
        if self.mode == "bias":
            return self.shaped(vocabulary, ids, logits)
        whole = {
            i: due for i, row in enumerate(ids) if (due := self._asked.get(row)) and not due.ids
        }
        out = logits.clone() if whole else logits
        for i, due in whole.items():
            self._guarded(vocabulary, due.place.rule, out[i])
        return out

    def shaped(
        self, vocabulary: Vocabulary, rows: Sequence[Sequence[int]], scores: torch.Tensor
    ) -> torch.Tensor:
        """`scores` `[row, vocabulary]` as the mode has it, one token at a time; in log as forced.

        It depends on each row's ids alone: rows may come, go and change their order.
        """
        out = scores.clone()
        for i, due in enumerate(self.due(vocabulary, rows, stateless=True)):
            if due is None:
                continue
            if not due.ids:
                self._guarded(vocabulary, due.place.rule, out[i])
                continue
            token = due.ids[0]
            logprobs = scores[i].float().log_softmax(-1)
            row = tuple(rows[i])
            waiting = self._going.get(row)
            entry = waiting.pop() if waiting else self._entry(due, [], row, len(row))
            self._going.setdefault((*row, token), []).append(entry)
            entry.ids.append(token)
            entry.logprobs.append(logprobs[token].item())
            entry.agreed.append(int(logprobs.argmax()) == token)
            if self.mode == "hard":
                out[i] = -torch.inf
                out[i, token] = 0
            out[i, token] += self.bias
        return out

    def due(
        self, vocabulary: Vocabulary, rows: Sequence[Sequence[int]], stateless: bool = False
    ) -> list[Due | None]:
        """What each row (token ids) asks for; None where nothing. Networks get one batch a rule.

        `stateless`: a token may come at a time.
        """
        places, out = [self._place(vocabulary, ids) for ids in rows], []
        self._answer([place for place in places if place])
        for ids, place in zip(rows, places, strict=True):
            due = place and _lacking(vocabulary, ids, place, self._known[place.key], stateless)
            if place and isinstance(due, Abstained):
                name = place.rule.name
                self.abstentions.append(Abstention(name, place.asked, place.given, due.reason))
            out.append(due if isinstance(due, Due) else None)
        return out

    def measure(self, model: Model) -> None:
        """Set `logprobs` and `agreed` of the answers in the log that have none, by forwards; as far
        as the model's context reaches.

        Raises as `wb.reply_logprobs`.
        """
        limit = model.context_length
        entries = [e for e in self.log if not e.logprobs and not (limit and len(e.before) >= limit)]
        texts = [Encoded([*e.before, *e.ids][:limit], len(e.before)) for e in entries]
        counts, names = [len(t.ids) - t.start for t in texts], [f"{e.asked!r:.60}" for e in entries]
        columns = logprobs_of_ends(model, texts, counts, names, best=True) if entries else []
        for entry, values in zip(entries, columns, strict=True):
            entry.logprobs = values[:, 0].tolist()
            entry.agreed = (values[:, 0] == values[:, 1]).tolist()

    def _place(self, vocabulary: Vocabulary, ids: Sequence[int]) -> Place | None:
        """The last place of a row that asks a rule."""
        text, cut = vocabulary.read(ids[-WINDOW:]), len(ids) > WINDOW
        while True:
            ends = stops(self.rules, text, max(0, len(text) - _LONGEST))
            places = (place_at(self.rules, text, stop) for stop in reversed(ends))
            place = next((place for place in places if place), None)
            if not cut or (place.start >= _EDGE if place else not (ends and _WORD.match(text))):
                return place
            text, cut = vocabulary.read(ids), False

    def _answer(self, places: Sequence[Place]) -> None:
        """Know the answers to these; anew where they are not begun: networks may have changed."""
        for memory in (self._known, self._going):
            if len(memory) > _REMEMBERED:
                memory.clear()
        new = [p for p in places if not p.done or p.key not in self._known]
        self._known |= zip([place.key for place in new], answers(new), strict=True)

    def _entry(self, due: Due, ids: list[int], before: tuple[int, ...], step: int) -> Forced:
        place = due.place
        entry = Forced(place.rule.name, place.asked, place.given, due.answer, ids, before, step)
        self.log.append(entry)
        return entry

    def _guarded(self, vocabulary: Vocabulary, rule: SymbolicRule, row: torch.Tensor) -> None:
        """Forbid in a row's logits, in place, what would go on with an answer."""
        ids = [i for i in vocabulary.beginning(rule.guard) if i < len(row)]
        if self.mode == "observe" or not ids:
            return
        guarded = row.index_fill(0, torch.tensor(ids, device=row.device), -torch.inf)
        if self.mode == "bias":
            row[ids] -= self.bias
        elif guarded.max() > -torch.inf:
            row.copy_(guarded)


def _lacking(
    vocabulary: Vocabulary, ids: Sequence[int], place: Place, answer: str | Abstained,
    stateless: bool,
) -> Due | Abstained | None:  # fmt: skip
    """What a row still lacks of the answer to its place; None where it goes on otherwise."""
    if isinstance(answer, Abstained):
        return None if place.done else answer
    seps = [place.sep] if place.rule.sep is not None or not place.done else ["", " "]
    wholes = (sep + answer for sep in seps)
    whole = next(
        (w for w in wholes if w.startswith(place.done) or w == place.done.rstrip(".,")), None
    )
    if whole is None:
        if SPECIAL not in place.done and len(place.done) < len(vocabulary.pieces[ids[-1]]):
            return Abstained(f"passed: a token goes on behind the trigger with {place.done!r:.60}")
        return None
    if len(whole) <= len(place.done):
        return Due(place, answer, [])
    spelled = vocabulary.spelled(ids, whole[len(place.done) :])
    if stateless and (len(spelled or ()) > WINDOW // 2 or len(whole) > _LONGEST):
        return Abstained(f"too_long: a processor goes on with no answer of {len(whole)} characters")
    if spelled is None or (stateless and any("\ufffd" in vocabulary.pieces[i] for i in spelled)):
        return Abstained(f"no_spelling: the tokenizer does not write {whole!r:.60} exactly here")
    return Due(place, answer, spelled)
