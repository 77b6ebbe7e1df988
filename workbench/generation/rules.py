"""Rules while decoding: what comes next in a row, or may come next, whatever the model says."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workbench.arguments import FLOAT32, indices, listed, shown, whole
from workbench.errors import GenerationError
from workbench.models.model import Model


@dataclass(frozen=True)
class RowTokens:
    """Token ids of one row: its prompt's, and those decoded so far."""

    prompt: tuple[int, ...]
    new: tuple[int, ...]


class Rule:
    """What happens to rows while a local model decodes them: a base to subclass.

    Before a token is picked, the rule is asked in one call about all rows of the batch whose last
    token is among its `triggers` (the prompt's counts) or is the last that it forced, or, with
    `from_start`, that have no new token yet, where their number of new tokens is in `steps` (None:
    any): first what is `forced`, then, where nothing is, for other `logits`. What it answers for a
    row must depend on that row alone: which come together is the batch's affair.

    An answer that cannot be used is a `GenerationError` naming request and rule.

    >>> class NoDigitFirst(wb.Rule):
    ...     steps = range(1)
    ...     def logits(self, model, rows, logits): return logits.index_fill(1, DIGITS, -torch.inf)
    >>> wb.complete(model, requests, rule=NoDigitFirst())
    """

    steps: range | None = None
    from_start: bool = False

    def fingerprint(self) -> str | None:
        """Text that changes whenever the answers do: part of a sample's identity in a store.

        None: no identity; such a rule is refused together with a store.
        """
        return None

    def triggers(self, model: Model) -> Collection[int] | None:
        """Token ids behind which it is asked; None: behind any token."""
        return None

    def forced(self, model: Model, rows: Sequence[RowTokens]) -> Sequence[Sequence[int]]:
        """Per row the ids of its next tokens, none or more; before they are out it is not asked
        again. They count, and may end the row, as if the model had chosen them.
        """
        return [()] * len(rows)

    def logits(self, model: Model, rows: Sequence[RowTokens], logits: torch.Tensor) -> torch.Tensor:
        """`logits`, float32 `[row, vocabulary]` on the model's device, as they shall be before
        temperature, top_k and top_p. A token with -inf is never chosen.
        """
        return logits


def as_rule(rule: Any) -> Rule:
    """`rule` as it is; raises `ValueError` for what is none."""
    if not isinstance(rule, Rule):
        raise ValueError(
            f"rule={shown(rule)}: it must be one wb.Rule; generation.ready_rules.ProcessorRule "
            "makes one of transformers' LogitsProcessors"
        )
    return rule


def rule_identity(rule: Rule | None) -> dict[str, str]:
    """A rule's part of a sample's identity. Raises `ValueError` for one without a fingerprint."""
    if rule is None:
        return {}
    mark = rule.fingerprint()
    if not isinstance(mark, str) or not mark:
        raise ValueError(
            f"{_named(rule)} has the fingerprint {shown(mark)}: let fingerprint() return a text "
            "that changes whenever the rule's answers do, or leave out the store"
        )
    return {"rule": mark}


def trigger_table(rule: Rule, model: Model) -> torch.Tensor:
    """bool `[token]`, behind which of the model's tokens the rule is asked.

    Raises `ValueError` for triggers that are no tokens of the model, none at all, or odd `steps`.
    """
    if not isinstance(rule.steps, range | None):
        raise ValueError(f"steps of {_named(rule)}={shown(rule.steps)}: it must be a range or None")
    count, triggers = model.n_tokens, rule.triggers(model)
    table = torch.full((count,), triggers is None)
    if triggers is not None:
        table[indices(f"triggers of {_named(rule)}", triggers, count)] = True
    return table


class RuleWatch:
    """A rule on one batch of rows, and what it still forces on each of them.

    `rows`: of each the prompt's ids and those decoded so far, a list that the decoder goes on with;
    `where` says in words which row it is.
    """

    def __init__(
        self,
        rule: Rule,
        model: Model,
        rows: Sequence[tuple[Sequence[int], Sequence[int]]],
        where: Callable[[int], str],
    ) -> None:
        self.rule, self.model, self.rows, self.where = rule, model, rows, where
        self.table = trigger_table(rule, model)
        self.queues: list[deque[int]] = [deque() for _ in rows]
        self.through: set[int] = set()

    def act(
        self, step: int, logits: torch.Tensor, live: torch.Tensor,
        last: torch.Tensor, going: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[int, int]]:  # fmt: skip
        """(logits as the rule leaves them, {place in `live`: the token forced there}).

        On the CPU, a place for each row of `logits`: `live`, which row it is; `last`, its last
        token; bool `going`, whether it has not ended.
        """
        on = self.rule.steps is None or step in self.rule.steps
        asked = self.table[last] | (self.rule.from_start and step == 0)
        if self.through:
            asked = asked | torch.tensor([row in self.through for row in live.tolist()])
        hit = (asked & going).nonzero()[:, 0].tolist() if on else []
        if not hit and not any(self.queues):
            self.through.clear()
            return logits, {}
        rows = live.tolist()
        hit = [i for i in hit if not self.queues[rows[i]]]
        if hit:
            self._force([rows[i] for i in hit])
            hit = [i for i in hit if not self.queues[rows[i]]]
        if hit and getattr(self.rule.logits, "__func__", None) is not Rule.logits:
            replaced = self._replaced([rows[i] for i in hit], logits[hit])
            logits = logits.index_copy(0, torch.tensor(hit, device=logits.device), replaced)
        queues = {i: self.queues[row] for i, row in enumerate(rows) if self.queues[row]}
        forced = {i: queue.popleft() for i, queue in queues.items()}
        self.through = {rows[i] for i, queue in queues.items() if not queue}
        return logits, forced

    def _force(self, rows: list[int]) -> None:
        """Queue what the rule forces on these rows."""
        words, most = self._words(rows[0], "forced"), self.model.n_tokens - 1
        answers = listed(words, self.rule.forced(self.model, self._tokens(rows)), GenerationError)
        if len(answers) != len(rows):
            raise GenerationError(f"{words}: {len(answers)} lists of ids for {len(rows)} rows")
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, list | tuple) and not answer:
                continue  # words for every row would take longer than all the rest
            words = self._words(row, "forced")
            ids = listed(words, answer, GenerationError, empty=True)
            self.queues[row].extend(whole(words, i, 0, most, GenerationError) for i in ids)

    def _replaced(self, rows: list[int], given: torch.Tensor) -> torch.Tensor:
        """What the rule makes of the logits `given` of these rows."""
        wanted = _form(given)
        out = self.rule.logits(self.model, self._tokens(rows), given)
        if _form(out) != wanted:
            words = self._words(rows[0], "logits")
            raise GenerationError(f"{words}: {_form(out)} in place of {wanted}")
        # NaN is the largest of its row; the least number is how some write -inf.
        for row, largest in zip(rows, out.amax(1).tolist(), strict=True):
            if not -FLOAT32 < largest < torch.inf:
                raise GenerationError(
                    f"{self._words(row, 'logits')}: the largest is {largest}; one at least of a "
                    "row must be a number above float32's least, and none NaN or inf"
                )
        return out

    def _tokens(self, rows: list[int]) -> list[RowTokens]:
        return [RowTokens(*map(tuple, self.rows[row])) for row in rows]

    def _words(self, row: int, hook: str) -> str:
        return f"{self.where(row)}: {hook} of {_named(self.rule)}"


def _named(rule: Rule) -> str:
    return f"rule {type(rule).__name__}"


def _form(logits: Any) -> str:
    if not isinstance(logits, torch.Tensor):
        return f"a {type(logits).__name__}"
    return f"{logits.dtype} {list(logits.shape)} on {logits.device}"
