"""Rules while decoding, against a slow loop over one row at a time."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.helpers.families import build
from tests.helpers.faults import short_of_memory
from tests.helpers.prompts import MIXED, PROMPTS
from workbench.generation.decoding import end_tokens
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest, prompt_text
from workbench.generation.rules import RowTokens
from workbench.generation.sampling import pick, uniforms
from workbench.models.prompts import encode


@pytest.fixture(scope="module")
def exact(tokenizer):
    """In float64 no sum of another order tips a draw."""
    return build("llama", tokenizer, dtype=torch.float64)


class Busy(wb.Rule):
    """Forces tokens, and moves logits, as the row's ids have it; notes how it was asked."""

    def __init__(self, triggers=None, steps=None, mark="busy", start=0):
        self.asked, self.replaced = [], []
        self.on, self.steps, self.mark, self.start = triggers, steps, mark, start

    def fingerprint(self):
        return self.mark

    def triggers(self, model):
        return self.on

    def of_row(self, row):
        """(ids forced, the shift of its logits or None)."""
        total = sum(row.prompt) + 7 * sum(row.new) + self.start
        ids = [(total + k) % 300 + 40 for k in range(total % 4)] if total % 3 == 0 else []
        shift = torch.zeros(1000, dtype=torch.float32)
        shift[total % 5 :: 5] = -math.inf
        return ids, shift

    def forced(self, model, rows):
        self.asked.append([(row.prompt, row.new) for row in rows])
        return [self.of_row(row)[0] for row in rows]

    def logits(self, model, rows, logits):
        self.replaced.append([(row.prompt, row.new) for row in rows])
        shifts = torch.stack([self.of_row(row)[1][: logits.shape[1]] for row in rows])
        return logits + shifts


@torch.no_grad()
def alone(model, rule, request, index):
    """Ids of one sample: a forward of the whole text for every token, the rule asked by hand."""
    ids, new, queue, through = encode(model, request.prompt).ids, [], [], False
    numbers = uniforms([(request.seed, prompt_text(request.prompt), index, request.max_new_tokens)])
    while len(new) < request.max_new_tokens and not set(new) & end_tokens(model):
        logits = model.hf(torch.tensor([ids + new]), use_cache=False).logits[:, -1].float()
        triggers, steps = rule.triggers(model), rule.steps
        asked = triggers is None or (ids + new)[-1] in triggers or through
        asked = asked or (rule.from_start and not new)
        asked = asked and (steps is None or len(new) in steps) and not queue
        if asked:
            queue, shift = rule.of_row(RowTokens(tuple(ids), tuple(new)))
            logits = logits if queue else logits + shift[: logits.shape[1]]
        heat = torch.tensor([float(request.temperature)])
        token = int(pick(logits, heat, numbers[:, len(new)], request.top_k, request.top_p))
        through = len(queue) == 1
        new.append(queue.pop(0) if queue else token)
    return new


def text(model, ids):
    kept = [i for i in ids if i not in end_tokens(model)]
    return model.tokenizer.decode(kept, skip_special_tokens=True)


def expected(model, rule, requests):
    return [
        [text(model, alone(model, rule, r, k)) for k in range(r.draws)] * (r.n // r.draws)
        for r in requests
    ]


def texts(model, requests, **more):
    return [result.texts for result in wb.complete(model, requests, **more)]


ASKED = [
    GenRequest(p, 2, (9, 4, 12, 5, 14, 7, 10)[i], 1.5 * (i % 3 > 0), seed=i)
    for i, p in enumerate([*MIXED[:3], *PROMPTS[:4]])
]
TRIGGERS = {"always": None, "some": range(40, 400, 2)}


@pytest.fixture(scope="module", params=TRIGGERS)
def looped(request, exact):
    """(a rule, what the loop makes of `ASKED` by it)."""
    rule = Busy(TRIGGERS[request.param])
    return rule, expected(exact, rule, ASKED)


@pytest.mark.parametrize("path", ["cached", "small", "whole", "halved", "stream"])
def test_every_path_is_the_loop_over_one_row(exact, path, looped, monkeypatch):
    (rule, wanted), requests = looped, ASKED
    backend = LocalBackend(exact, batch_size=3 if path == "small" else None)
    if path == "whole":
        monkeypatch.setattr(exact.hf.generation_config, "use_cache", False)
    if path == "halved":
        with short_of_memory(exact, rows=3):
            got = texts(backend, requests, rule=rule)
    elif path == "stream":
        requests = [r for r in ASKED if r.temperature][:4]
        decoder = list(backend.stream(requests, rule=rule))[-1]
        got = [[sample.text] * 2 for sample in decoder.samples()]
        wanted = [[t[0]] * 2 for t, r in zip(wanted, ASKED, strict=True) if r.temperature][:4]
    else:
        got = texts(backend, requests, rule=rule)
    assert got == wanted
    assert got != texts(backend, requests)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    triggers=st.none() | st.sets(st.integers(0, 399), min_size=1, max_size=200),
    steps=st.none() | st.builds(range, st.integers(0, 3), st.integers(0, 8)),
    start=st.integers(0, 11),
    from_start=st.booleans(),
)
def test_any_triggers_and_steps(exact, triggers, steps, start, from_start):
    rule = Busy(triggers, steps, start=start)
    rule.from_start = from_start
    requests = [GenRequest(p, 2, 6, 1.0) for p in (PROMPTS[0], PROMPTS[1], "Sure, mend")]
    assert texts(exact, requests, rule=rule) == expected(exact, rule, requests)


def test_all_rows_of_a_step_come_in_one_call_and_none_that_ended(exact):
    rule, requests = Busy(steps=range(2, 5)), [GenRequest(p, 2, 4, 1.0) for p in MIXED[1:4]]
    rule.of_row = lambda row: ([], torch.zeros(1000))
    requests += [GenRequest("Mend", 2, 9, 1.0), GenRequest("Mend", 1, 3)]
    results = wb.complete(exact, requests, rule=rule)
    lengths = [s.n_tokens for result in results for s in result.samples]
    rows = [[n] * sum(length > n for length in lengths) for n in (2, 3, 4)]
    assert [[len(new) for _, new in call] for call in rule.asked] == rows
    assert len({*map(len, rows)}) == 3
    prompts = [tuple(encode(exact, r.prompt).ids) for r in requests]
    assert {prompt for prompt, _ in rule.asked[0]} == {*prompts}
    assert not any(end_tokens(exact) & set(new) for call in rule.asked for _, new in call)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_on_which_it_never_acts_are_as_without_it(tiny, temperature):
    """Bit for bit, also beside rows on which it does."""
    marked = encode(tiny, "Mend the hammer").ids[-1]
    requests = [
        GenRequest(p, 3, 12, temperature) for p in ("Mend the hammer", "No, do not", "Look at")
    ]

    class Once(Busy):
        def forced(self, model, rows):
            return [[] if row.new else [marked, marked] for row in rows]

    plain, ruled = texts(tiny, requests), texts(tiny, requests, rule=Once([marked], range(1)))
    assert plain[0] != ruled[0]
    assert all(t.startswith(tiny.tokenizer.decode([marked] * 2)) for t in ruled[0])
    assert plain[1:] == ruled[1:]
    unused = next(i for i in range(tiny.n_tokens) if i not in {i for r in requests for i in
                  encode(tiny, r.prompt).ids} and i in tiny.tokenizer.all_special_ids)  # fmt: skip
    assert texts(tiny, requests, rule=Busy([unused])) == plain
    assert texts(tiny, requests, rule=wb.Rule()) == plain


def test_logits_are_asked_for_where_nothing_is_forced(exact):
    rule = Busy(steps=range(4))
    texts(exact, ASKED, rule=rule)
    free = [[row for row in call if not rule.of_row(RowTokens(*row))[0]] for call in rule.asked]
    assert rule.replaced == [call for call in free if call]
    assert sum(map(len, free)) < sum(map(len, rule.asked))


def test_forced_tokens_may_end_a_row_and_count(exact):
    class Ending(wb.Rule):
        def forced(self, model, rows):
            return [[50, 51, exact.tokenizer.eos_token_id, 52] for _ in rows]

    (result,) = wb.complete(exact, [GenRequest("Mend", max_new_tokens=9)], rule=Ending())
    assert result.samples[0].finish_reason == "eos"
    assert (result.texts[0], result.samples[0].n_tokens) == (text(exact, [50, 51]), 3)
    (result,) = wb.complete(exact, [GenRequest("Mend", max_new_tokens=2)], rule=Ending())
    assert result.samples[0].finish_reason == "length"
    stop = exact.tokenizer.decode([51])
    request = GenRequest("Mend", max_new_tokens=9, stop=(stop,))
    (result,) = wb.complete(exact, [request], rule=Ending())
    assert (result.texts[0], result.samples[0].finish_reason) == (text(exact, [50]), "stop")
