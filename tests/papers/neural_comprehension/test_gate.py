"""The gate in the engine: exact answers by any tokenizer, the model's tokens everywhere else."""

import random
from dataclasses import replace

import pytest
import torch

import workbench as wb
from tests.helpers.families import build
from tests.helpers.odd_tokenizers import model_of
from tests.helpers.ordinary_texts import ordinary_texts
from tests.helpers.sum_tokenizers import KINDS, sum_tokenizer
from workbench.errors import GenerationError, ModelError
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.generation.rules import RowTokens
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.rules import (
    SymbolicRule,
    asked,
    coin_flip_rule,
    task_rule,
)
from workbench.papers.neural_comprehension.tasks import TASKS, task

SUMS = ["addition", "subtraction"]


@pytest.fixture(scope="module")
def digits():
    return model_of(sum_tokenizer("digits"))


def upper(name="upper", pattern=r"up (\w+)=", run=None, **more):
    return SymbolicRule(name, pattern, run or (lambda given: [g.upper() for g in given]), **more)


def drawn(name, lengths, seed=0):
    rng, each = random.Random(seed), task(name)
    return [(given := each.draw(rng, n), each.answer(given)) for n in lengths]


def texts(model, prompts, new=60, **more):
    return [t for ts in wb.generate(model, prompts, max_new_tokens=new, **more) for t in ts]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TASKS)
def test_answers_are_exact_by_any_tokenizer(kind, name):
    model = model_of(sum_tokenizer(kind))
    pairs = drawn(name, [1, 3, 12, 40 if name in SUMS else 20])
    prompts = [asked(name, given) for given, _ in pairs]
    sep = "" if name in SUMS else " "
    gate = Gate([name])
    for reply, (_, answer) in zip(texts(model, prompts, 44, rule=gate), pairs, strict=True):
        whole = answer if kind == "metaspace" else sep + answer  # decoded alone, a space is lost
        assert reply.startswith(whole)
    first = {entry.given: entry.answer for entry in gate.log if entry.step == 0}
    assert first == dict(pairs)
    more = {"temperature": 1.5, "rule": Gate([name]), "max_new_tokens": 20}
    for replies, (_, answer) in zip(wb.generate(model, prompts, 2, **more), pairs, strict=True):
        assert all(reply.strip().startswith(answer[:18]) for reply in replies)


def test_signed_and_spaced(digits):
    prompts = ["5-12=", "5 - 12 =", "0+0=", "Q: 1+1=2\nQ: 12-40=", "1+1= 2\n2+3=", "1. **2+3="]
    wanted = ["-7", " -7", "0", "-28", " 5", "5"]
    got = texts(digits, prompts, rule=Gate(SUMS))
    assert [g[: len(w)] for g, w in zip(got, wanted, strict=True)] == wanted


def test_a_weight_of_the_carry_makes_the_answers(digits):
    """Forced tokens come from the network's logits."""
    pairs = drawn("addition", [2, 3, 4, 5] * 6)
    network = task("addition").network(16)
    carry = [i for i, label in enumerate(network.config.labels) if label.startswith("carry")]

    def accuracy():
        replies = texts(digits, [f"{given}=" for given, _ in pairs], 8, rule=gate)
        marks.append(gate.fingerprint())
        return sum(r.startswith(a) for r, (_, a) in zip(replies, pairs, strict=True)) / len(pairs)

    marks, gate = [], Gate(["addition"])
    assert accuracy() == 1
    weights = [layer.o.weight for layer in network.layers if layer.heads]
    (weight,) = [w for w in weights if w[carry].any()]
    before = weight.clone()
    try:
        row, column = weight[carry].nonzero()[-1].tolist()
        weight[carry[row], column] = 0
        assert accuracy() < 0.9
    finally:
        weight.copy_(before)
    assert accuracy() == 1
    assert marks[0] == marks[2] != marks[1]


@pytest.mark.parametrize("mode", ["hard", "bias", "observe"])
def test_texts_that_ask_nothing_are_as_without_a_gate(digits, mode):
    prompts = ordinary_texts()
    assert len(prompts) >= 200
    rules = [*TASKS, coin_flip_rule(), replace(task_rule("reverse", trigger="is"), name="r"),
             replace(task_rule("parity", trigger="is"), name="p")]  # fmt: skip
    gate = Gate(rules, mode, 30.0 if mode == "bias" else None)
    assert texts(digits, prompts[::3], 6, rule=gate) == texts(digits, prompts[::3], 6)
    assert not gate.log


@pytest.mark.parametrize("mode", ["hard", "bias"])
def test_inside_ordinary_texts_nothing_fires_either(digits, mode):
    """At every token of them, as if it had just been written."""
    from workbench.papers.neural_comprehension.vocabulary import vocabulary_of

    vocabulary = vocabulary_of(digits.tokenizer)
    gate = Gate([*TASKS, coin_flip_rule()])
    rows = [digits.tokenizer(text)["input_ids"] for text in ordinary_texts()]
    for row in rows:
        ends = [
            n for n in range(1, len(row)) if "=" in (t := vocabulary.pieces[row[n - 1]]) or ">" in t
        ]
        assert not any(gate.due(vocabulary, [row[:n] for n in ends], stateless=mode == "bias"))
    assert not gate.log


def test_the_trigger_inside_a_shared_beginning_is_past(digits):
    head = "One sum that stands in the beginning of all of these prompts: 12+34=46, and then "
    prompts = [head + tail for tail in ("one", "two", "3+4=", "3+4=")]
    gate = Gate(["addition"])
    got, plain = texts(digits, prompts, 12, rule=gate), texts(digits, prompts, 12)
    assert got[:2] == plain[:2]
    assert [g[:1] for g in got[2:]] == ["7", "7"]
    requests = [GenRequest(p, 3, 12, 1.0) for p in prompts]
    replies = [r.texts for r in wb.complete(digits, requests, rule=Gate(["addition"]))]
    assert replies[:2] == [r.texts for r in wb.complete(digits, requests[:2])]
    assert all(t[0] == "7" for ts in replies[2:] for t in ts)


def test_a_begun_answer_is_gone_on_with(digits):
    """What a reply was cut at, say; as `GateProcessor` does."""
    prompts = ["99+11=", "99+11=1", "99+11=11", "99+11=110", "99+11=12", "99 + 11 = 1", "99+11 ="]
    gate = Gate(["addition"])
    got, plain = texts(digits, prompts, 9, rule=gate), texts(digits, prompts, 9)
    rests = ["110", "10", "0", "", None, "10", " 110"]
    for prompt, reply, rest, own in zip(prompts, got, rests, plain, strict=True):
        if rest is None:
            assert reply == own
            continue
        assert reply.startswith(rest), prompt
        assert reply[len(rest) : len(rest) + 1] not in set("0123456789.,")
    assert sum(entry.step == 0 for entry in gate.log) == 5
    short = texts(digits, prompts[:1], 2, rule=gate)[0]
    assert texts(digits, [prompts[0] + short], 1, rule=gate) == ["0"]


@pytest.mark.parametrize("form", ["{a}+5=", "5+{a}=", "{a} + {a} =", "{a}-{a} ="])
def test_operands_that_no_window_holds_are_said_to_be_too_long(digits, form):
    gate, number = Gate(SUMS), "98765" * 120
    gate.triggers(digits)
    for before in ("", "Ann has 7 apples. " * 40, "<pad>" * 900):
        ids = digits.tokenizer(before + form.format(a=number))["input_ids"]
        assert gate.forced(digits, [RowTokens(tuple(ids), ())]) == [()]
    assert [a.reason[:9] for a in gate.abstentions] == ["too_long:"] * 3


def test_an_answer_that_is_cut(digits):
    gate = Gate(["addition"])
    short = GenRequest("99+11=", max_new_tokens=2)
    requests = [short, GenRequest("99+11=", max_new_tokens=9, stop=("10",))]
    two = [wb.complete(digits, [request], rule=gate)[0].samples[0] for request in requests]
    assert [(s.text, s.finish_reason, s.n_tokens) for s in two] == [
        ("11", "length", 2), ("1", "stop", 3),
    ]  # fmt: skip
    assert [digits.tokenizer.decode(entry.ids) for entry in gate.log] == ["110", "110"]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_rows_come_and_go(digits, temperature):
    """Some end in mid-answer and are dropped, others ask later: each is as by itself."""
    pairs = drawn("addition", [1, 2, 3, 5, 8, 13] * 2)
    requests = [
        GenRequest(f"{'Ann. ' * (i % 3)}{given}=", 1 + i % 2, 2 + 3 * (i % 4), temperature, seed=i)
        for i, (given, _) in enumerate(pairs)
    ] + [GenRequest("Ann has", 2, 12, temperature)]
    gate = Gate(["addition"])
    together = [r.texts for r in wb.complete(digits, requests, rule=gate)]
    apart = [wb.complete(digits, [r], rule=Gate(["addition"]))[0].texts for r in requests]
    small = wb.complete(LocalBackend(digits, batch_size=3), requests, rule=Gate(["addition"]))
    assert together == apart == [r.texts for r in small]
    for replies, request, (_, answer) in zip(together, requests, pairs, strict=False):
        assert {t[: len(answer)] for t in replies} == {answer[: request.max_new_tokens]}


def test_what_follows_an_answer_is_no_digit_point_or_comma(digits):
    tokenizer, gate = digits.tokenizer, Gate(["addition"])
    gate.triggers(digits)
    prompt = tuple(tokenizer("12+34=")["input_ids"])
    logits = torch.zeros(2, digits.n_tokens)
    logits[:, tokenizer("7")["input_ids"]] = 9.0
    rows = [RowTokens(prompt, ())]
    assert [tokenizer.decode(ids) for ids in gate.forced(digits, rows)] == ["46"]
    behind = [RowTokens(prompt, tuple(tokenizer(t)["input_ids"])) for t in ("46", "46 ")]
    assert gate.forced(digits, behind) == [[], ()]
    out = gate.logits(digits, behind, logits)
    assert torch.equal(out[1], logits[1])
    forbidden = {tokenizer.decode(i)[0] for i in out[0].isinf().nonzero()[:, 0].tolist()}
    assert forbidden == set("0123456789.,")
    assert torch.equal(out[0][out[0] > -torch.inf], logits[0][out[0] > -torch.inf])
    # In the engine it is asked for one step behind every answer.
    seven = model_of(tokenizer)
    head = torch.nn.Linear(seven.d_model, seven.n_tokens, bias=True)
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.zero_()[tokenizer("x7")["input_ids"]] = torch.tensor([5.0, 9.0])
    seven.hf.lm_head = head
    gate = Gate(["addition"])
    assert texts(seven, ["12+34=", "70+4="], 6, rule=gate) == ["46x777", "74x777"]
    gate.measure(seven)
    assert {e.answer: e.agreed for e in gate.log} == {"46": [False] * 2, "74": [True, False]}


def test_where_a_point_may_follow_no_decimals_do(digits):
    tokenizer, gate = digits.tokenizer, Gate([replace(task_rule("addition"), guard="0123456789")])
    hot = gate.triggers(digits)
    assert {*tokenizer(".")["input_ids"], *tokenizer(",")["input_ids"]} <= set(hot)
    prompt = tuple(tokenizer("12+34=")["input_ids"])
    rows = [
        RowTokens(prompt, tuple(tokenizer(t)["input_ids"])) for t in ("46", "46.", "46,", "46. ")
    ]
    assert gate.forced(digits, rows) == [[], [], [], ()]
    out = gate.logits(digits, rows, torch.zeros(4, digits.n_tokens))
    pieces = [tokenizer.decode(i) for i in range(digits.n_tokens)]
    wanted = {i for i, piece in enumerate(pieces) if piece.lstrip(".,")[:1].isdigit()}
    assert {i for i, piece in enumerate(pieces) if piece in "0123456789"} <= wanted
    for row in out[:3]:
        assert set(row.isinf().nonzero()[:, 0].tolist()) == wanted
    assert not out[3].isinf().any()


def test_log_and_the_models_own_probability(digits):
    gate = Gate(["addition"])
    prompts = ["12+34=", "Ann: 5+6="]
    texts(digits, prompts, 4, rule=gate)
    gate.measure(digits)
    first = {entry.given: entry for entry in gate.log if entry.step == 0}
    ids = digits.tokenizer(prompts)["input_ids"]
    assert [first["12+34"].before, first["5+6"].before] == [tuple(row) for row in ids]
    for entry in gate.log:
        both = torch.tensor([[*entry.before, *entry.ids]])
        with torch.no_grad():
            logprobs = digits.hf(both).logits[0].log_softmax(-1)[len(entry.before) - 1 : -1]
        own = logprobs.gather(1, torch.tensor(entry.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(entry.logprobs), own, rtol=1e-4, atol=1e-5)
        assert entry.agreed == (logprobs.argmax(1) == torch.tensor(entry.ids)).tolist()


def test_modes(digits):
    prompts = ["12+34=", "5+6= "]
    plain, observed = texts(digits, prompts, 6), Gate(["addition"], "observe")
    assert texts(digits, prompts, 6, rule=observed) == plain
    assert sorted(entry.answer for entry in observed.log) == ["11", "46"]
    observed.measure(digits)
    strong, weak = Gate(["addition"], "bias", bias=1e4), Gate(["addition"], "bias", bias=1e-6)
    hard = texts(digits, prompts, 6, rule=Gate(["addition"]))
    assert texts(digits, prompts, 6, rule=strong) == hard
    assert texts(digits, prompts, 6, rule=weak) == plain
    assert [e.answer for e in strong.log] == [e.answer for e in sorted(strong.log, key=lambda e: 0)]
    assert all(len(e.logprobs) == len(e.ids) for e in strong.log)


def test_store(digits):
    requests, prompts = [GenRequest("12+34=", 2, 5, 1.0)], 2
    with wb.SampleStore() as store:
        first = wb.complete(digits, requests, store=store, rule=Gate(["addition"]))
        again = wb.complete(digits, requests, store=store, rule=Gate(["addition"]))
        assert [r.texts for r in first] == [r.texts for r in again]
        assert store.written == prompts
        for other in (Gate(SUMS), Gate(["addition"], "observe"), None):
            with pytest.raises(GenerationError, match="2 samples are not stored"):
                wb.complete(digits, requests, store=store, rule=other, mode="replay")
        with pytest.raises(ValueError, match="rule Gate has the fingerprint None"):
            wb.complete(digits, requests, store=store, rule=Gate([upper()]))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([],), "no rules"), (("addition",), "not one string"), ((["sums"],), "task='sums'"),
        (([7],), "rules hold 7"), ((["copy", "copy"],), "rules copy and copy"),
        (([upper(), upper("b")],), "rules upper and b have"), ((SUMS, "soft"), "mode='soft'"),
        ((SUMS, "bias"), "only mode='bias' has one"), ((SUMS, "hard", 3.0), "only mode='bias'"),
        ((SUMS, "bias", 0), "bias=0"), ((SUMS, "bias", float("nan")), "bias=nan"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        Gate(*arguments)


def test_a_trigger_that_no_token_ends(tokenizer):
    gate = Gate([upper(pattern=r"(\w+)𓂀", trigger="𓂀")])
    model = build("llama", tokenizer)
    assert texts(model, ["Mend"], 2, rule=gate) == texts(model, ["Mend"], 2)
    from tests.helpers.odd_tokenizers import small_alphabet

    with pytest.raises(ModelError, match="no token that ends '='"):
        texts(model_of(small_alphabet()), ["mend"], 2, rule=Gate(["addition"]))
