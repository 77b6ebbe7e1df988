"""What a rule may answer, and what is refused by name, before or while it decodes."""

import math

import pytest
import torch

import workbench as wb
from tests.generation.test_rules import Busy
from workbench.arguments import FLOAT32
from workbench.errors import GenerationError
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.prompts import encode


def answering(hook, answer):
    """A rule that answers so once three tokens are there."""

    class MyGate(wb.Rule):
        pass

    def late(self, model, rows, *logits):
        good = logits[0] if logits else [[] for _ in rows]
        return answer(rows, *logits) if len(rows[0].new) == 3 else good

    setattr(MyGate, hook, late)
    return MyGate()


def second_row(value):
    def answer(rows, logits):
        logits[1] = value
        return logits

    return answer


def one_of(value):
    def answer(rows, logits):
        logits[1, 7] = value
        return logits

    return answer


BAD = {
    "nan": ("logits", one_of(math.nan), 1, "the largest is nan; one at least"),
    "inf": ("logits", one_of(math.inf), 1, "the largest is inf"),
    "all -inf": ("logits", second_row(-math.inf), 1, "the largest is -inf; one at least"),
    "all least": ("logits", second_row(-FLOAT32), 1, r"the largest is -3\.40.*e\+38; one"),
    "rows": ("logits", lambda rows, x: x[:1], 0, r"\[1, \d+\] on cpu in place of .* \[2, \d+\]"),
    "width": ("logits", lambda rows, x: x[:, :-1], 0, "in place of"),
    "row": ("logits", lambda rows, x: x[0], 0, "in place of"),
    "dtype": ("logits", lambda rows, x: x.double(), 0, "torch.float64 .* place of torch.float32"),
    "ints": ("logits", lambda rows, x: x.long(), 0, "torch.int64"),
    "meta": ("logits", lambda rows, x: x.to("meta"), 0, "on meta in place of"),
    "None": ("logits", lambda rows, x: None, 0, "a NoneType in place of"),
    "list": ("logits", lambda rows, x: x.tolist(), 0, "a list in place of"),
    "beyond": ("forced", lambda rows: [[], [5, 10**6]], 1, "=1000000: it must be a whole number"),
    "negative": ("forced", lambda rows: [[-1], []], 0, "=-1: it must be"),
    "half": ("forced", lambda rows: [[], [5.5]], 1, "=5.5: it must be a whole number"),
    "truth": ("forced", lambda rows: [[], [True]], 1, "=True"),
    "word": ("forced", lambda rows: [[], "ab"], 1, "must be a list, not one string"),
    "no list": ("forced", lambda rows: [[], 5], 1, "=5: it must be a list"),
    "one list": ("forced", lambda rows: [[]], 0, "1 lists of ids for 2 rows"),
    "no lists": ("forced", lambda rows: [], 0, "the list is empty"),
    "nothing": ("forced", lambda rows: None, 0, "=None: it must be a list"),
}


@pytest.mark.parametrize(("hook", "answer", "row", "match"), BAD.values(), ids=BAD)
def test_an_answer_that_cannot_be_used_names_row_and_rule(llama, hook, answer, row, match):
    requests = [GenRequest("Look at", max_new_tokens=8), GenRequest("Mend it", max_new_tokens=8)]
    with pytest.raises(GenerationError, match=match) as error:
        wb.complete(llama, requests, rule=answering(hook, answer))
    place = f"request {row} ({requests[row].prompt!r}…), after 3 new tokens"
    assert f"{place}: {hook} of rule MyGate" in str(error.value)
    assert llama.in_flight is None


def test_the_first_id_beyond_the_vocabulary(llama):
    rule = answering("forced", lambda rows: [[llama.n_tokens - 1, llama.n_tokens]])
    with pytest.raises(GenerationError, match=f"MyGate={llama.n_tokens}: it must be"):
        wb.generate(llama, ["Mend"], max_new_tokens=9, rule=rule)


def test_an_error_inside_a_rule_goes_through_and_what_is_stored_stays(llama):
    class Failing(answering("forced", lambda rows: 1 / 0).__class__):
        def fingerprint(self):
            return "failing"

    requests = [GenRequest("Look at", 4, 2, 1.0), GenRequest("Mend it", 2, 8, 1.0)]
    with wb.SampleStore() as store:
        with pytest.raises(ZeroDivisionError) as error:
            wb.complete(llama, requests, store=store, rule=Failing())
        assert len(store) == 4
        assert error.traceback[-1].name == "<lambda>"
    assert llama.in_flight is None


@pytest.mark.parametrize("triggers", [[10**6], [-1], [0.5], [3, 3], [], "ab", {1: 2}, 7])
def test_triggers_that_are_no_tokens_are_refused_before_any_work(llama, triggers, monkeypatch):
    monkeypatch.setattr(LocalBackend, "draw", None)
    with pytest.raises(ValueError, match="triggers of rule Busy"):
        wb.complete(llama, [GenRequest("Mend")], rule=Busy(triggers))
    with pytest.raises(ValueError, match="triggers of rule Busy"):
        next(LocalBackend(llama).stream([GenRequest("Mend")], rule=Busy(triggers)))


@pytest.mark.parametrize("steps", [3, [3], lambda: range(3)])
def test_steps_that_are_no_range(llama, steps):
    with pytest.raises(ValueError, match=r"steps of rule Busy=.*must be a range or None"):
        wb.complete(llama, [GenRequest("Mend")], rule=Busy(steps=steps))


def test_triggers_may_be_a_tensor(llama):
    ids = encode(llama, "Mend").ids[-1:]
    calls = Busy(torch.tensor(ids), range(1))
    wb.generate(llama, ["Mend", "Look at"], max_new_tokens=2, rule=calls)
    assert [[prompt for prompt, _ in call] for call in calls.asked] == [
        [tuple(encode(llama, "Mend").ids)]
    ]


@pytest.mark.parametrize("rule", ["x", Busy, [Busy()], 5, lambda *_: None])
def test_what_is_no_rule(llama, rule):
    for completer in (llama, LocalBackend(llama), wb.Replay(wb.SampleStore())):
        with pytest.raises(ValueError, match="must be one wb"):
            wb.complete(completer, [GenRequest("Mend")], rule=rule)
    with pytest.raises(ValueError, match="must be one wb"):
        next(LocalBackend(llama).stream([GenRequest("Mend")], rule=rule))


@pytest.mark.parametrize("server", ["http://127.0.0.1:9/v1", wb.Endpoint("http://127.0.0.1:9/v1")])
def test_a_server_is_not_even_called(server):
    with pytest.raises(ValueError, match=r"no rule reaches into a Endpoint; load the model here"):
        wb.complete(server, [GenRequest("Mend")], store=wb.SampleStore(), rule=Busy())
