"""The gate in transformers' own generate(): stateless, whatever the rows do."""

import random

import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.odd_tokenizers import model_of
from tests.helpers.sum_tokenizers import KINDS, sum_tokenizer
from workbench.errors import ModelError
from workbench.generation.ready_rules import ProcessorRule
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.processor import GateProcessor
from workbench.papers.neural_comprehension.rules import (
    SymbolicRule,
    asked,
    coin_flip_rule,
    task_rule,
)
from workbench.papers.neural_comprehension.tasks import task

PROMPTS = ["12+34=", "Ann: 99999+1=", "Ann has 5", "1+2=3\n5 - 12 =", f"{'9' * 20}+{'9' * 20}="]
WANTED = ["46", "100000", "", " -7", "1" + "9" * 19 + "8"]
RULES = ["addition", "subtraction"]


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return model_of(sum_tokenizer(request.param))


@pytest.fixture(scope="module")
def digits():
    return model_of(sum_tokenizer("digits"))


def replies(model, prompts, gate, new=24, **more):
    """What `generate` makes of a left-padded batch."""
    tokenizer, processors = model.tokenizer, []
    tokenizer.padding_side = "left"
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    if gate is not None:
        processors.append(GateProcessor(gate, tokenizer))
    torch.manual_seed(0)
    out = model.hf.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
        logits_processor=processors, max_new_tokens=new, pad_token_id=tokenizer.pad_token_id,
        **more,
    )  # fmt: skip
    return tokenizer.batch_decode(
        out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


WAYS = {
    "greedy": {"do_sample": False},
    "sampled": {"do_sample": True, "temperature": 1.5},
    "several": {"do_sample": True, "num_return_sequences": 3, "top_k": 5},
    "beams": {"num_beams": 3, "do_sample": False},
    "beams-all": {"num_beams": 3, "num_return_sequences": 3, "do_sample": False},
    "no-cache": {"do_sample": False, "use_cache": False},
}


@pytest.mark.parametrize("way", WAYS)
def test_exact_in_every_way_of_generating(model, way):
    gate = Gate(RULES)
    got = replies(model, PROMPTS, gate, **WAYS[way])
    many = len(got) // len(PROMPTS)
    for i, wanted in enumerate(WANTED):
        for reply in got[i * many : (i + 1) * many]:
            # Decoded alone, some tokenizers' replies lose a space.
            assert reply.lstrip().startswith(wanted.lstrip())
    # Random models write sums of their own, too.
    assert {a.reason.partition(":")[0] for a in gate.abstentions} <= {"passed", "no_input"}
    assert {entry.answer for entry in gate.log} >= {w.strip() for w in WANTED if w}


def test_as_in_the_engine(digits):
    wanted = [wb.generate(digits, [p], max_new_tokens=24, rule=Gate(RULES))[0][0] for p in PROMPTS]
    assert replies(digits, PROMPTS, Gate(RULES), do_sample=False) == wanted
    processor = ProcessorRule(GateProcessor(Gate(RULES), digits.tokenizer))
    assert [t for (t,) in wb.generate(digits, PROMPTS, max_new_tokens=24, rule=processor)] == wanted


def test_a_begun_answer_is_gone_on_with(digits):
    prompts = ["12+34=4", "12 + 34 = ", "12+34=5", "99+1= 1"]
    got = replies(digits, prompts, Gate(RULES), 4, do_sample=False)
    plain = replies(digits, prompts, None, 4, do_sample=False)
    assert [got[0][:1], got[1][:2], got[3][:2]] == ["6", "46", "00"]
    assert got[2] == plain[2]


def test_rows_in_any_order_and_number(digits):
    """Beams are rows that change places, and batches rows that come and go."""
    tokenizer, gate = digits.tokenizer, Gate(RULES)
    processor = GateProcessor(gate, tokenizer)
    texts = ["12+34=", "12+34=4", "12+34=46", "12+34=47", "Ann", "5-12=", "5-12=-", "5-12=-7", "="]
    rows = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")["input_ids"]
    scores = torch.randn(len(texts), digits.n_tokens)
    together = processor(rows, scores)
    rng = random.Random(0)
    for _ in range(6):
        some = rng.sample(range(len(texts)), rng.randint(1, len(texts)))
        assert torch.equal(processor(rows[some], scores[some]), together[some])
    changed = (together != scores).any(1).tolist()
    assert changed == [True, True, True, False, False, True, True, True, False]
    free = [i for i, row in enumerate(together) if (row > -torch.inf).sum() == 1]
    assert [tokenizer.decode(together[i].argmax()) for i in free] == ["4", "6", "-", "7"]
    assert (together[free].amax(1) == 0).all()


def test_rows_that_have_ended_are_left_alone(digits):
    ids = digits.tokenizer(["12+34=<eos><pad>", "12+34=4<pad><pad>"])["input_ids"]
    gate, scores = Gate(RULES), torch.randn(1, digits.n_tokens)
    for row in ids:
        assert torch.equal(
            GateProcessor(gate, digits.tokenizer)(torch.tensor([row]), scores), scores
        )
    assert not gate.log
    assert not gate.abstentions


def test_log_of_every_token_with_the_scores_own_probability(digits):
    gate, tokenizer = Gate(["addition"]), digits.tokenizer
    replies(digits, ["12+34=", "12+34=", "9+1="], gate, 6, do_sample=False)
    assert sorted(entry.answer for entry in gate.log) == ["10", "46", "46"]
    for entry in gate.log:
        assert tokenizer.decode(entry.ids) == entry.answer
        before = [i for i in entry.before if i != tokenizer.pad_token_id]
        with torch.no_grad():
            logits = digits.hf(torch.tensor([[*before, *entry.ids]])).logits[
                0, len(before) - 1 : -1
            ]
        own = logits.log_softmax(-1).gather(1, torch.tensor(entry.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(entry.logprobs), own, rtol=1e-3, atol=1e-4)
        assert entry.agreed == (logits.argmax(1) == torch.tensor(entry.ids)).tolist()


def test_modes(digits):
    def text(gate):
        return replies(digits, PROMPTS, gate, 6, do_sample=False)

    observed, plain = Gate(["addition"], "observe"), text(None)
    assert text(observed) == plain
    assert [e.ids for e in observed.log if e.answer == "46"]
    assert text(Gate(["addition"], "bias", bias=1e4)) == text(Gate(["addition"])) != plain
    assert text(Gate(["addition"], "bias", bias=1e-6)) == plain


def test_encoder_decoder(digits):
    """Of a T5 the decoder's ids are read: it writes the sum itself, here because it is made to."""
    tokenizer = digits.tokenizer
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    t5 = transformers.T5ForConditionalGeneration(config).eval()
    inputs = tokenizer(["Ann has 12 and 34", "How many?"], return_tensors="pt", padding=True)
    starts = [[tokenizer.pad_token_id, *tokenizer(t)["input_ids"]] for t in ("12+34=", "123+4=")]
    for more in ({"do_sample": False}, {"num_beams": 3}, {"do_sample": True, "temperature": 1.5}):
        out = t5.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
            decoder_input_ids=torch.tensor(starts), max_new_tokens=6,
            logits_processor=[GateProcessor(Gate(["addition"]), tokenizer)], **more,
        )  # fmt: skip
        texts = tokenizer.batch_decode(out, skip_special_tokens=True)
        assert texts[0].startswith("12+34=46")
        assert texts[1].startswith("123+4=127")


def test_flips_behind_the_decoder_s_first_token(digits):
    """It stands right before the first flip, which belongs to them all the same."""
    ids = digits.tokenizer("<pad>1 0 1 ->")["input_ids"]
    gate = Gate([coin_flip_rule()])
    GateProcessor(gate, digits.tokenizer)(torch.tensor([ids]), torch.zeros(1, digits.n_tokens))
    assert [(entry.asked, entry.answer) for entry in gate.log] == [("1 0 1 ->", "0")]


def test_a_character_of_several_tokens_is_not_begun(digits):
    rule = SymbolicRule(
        "sign", r"sign (\w)=", lambda given: ["é" if g == "e" else "x" for g in given]
    )
    gate = Gate([rule])
    got = replies(digits, ["sign e=", "sign x="], gate, 3, do_sample=False)
    assert got[1].startswith("x")
    assert got[0] == replies(digits, ["sign e="], None, 3, do_sample=False)[0]
    assert [a.reason.partition(":")[0] for a in gate.abstentions] == ["no_spelling"]
    assert wb.generate(digits, ["sign e="], max_new_tokens=2, rule=Gate([rule])) == [["é"]]


def test_more_tokens_than_the_tokenizer_knows():
    model = model_of(sum_tokenizer("digits"), more=40)
    processor = GateProcessor(Gate(RULES), model.tokenizer)
    row = torch.tensor([[model.n_tokens - 1, *model.tokenizer("12+34=")["input_ids"]]])
    out = processor(row, torch.randn(1, model.n_tokens))
    assert model.tokenizer.decode(out.argmax()) == "4"
    row, scores = torch.cat([row, row[:, :1]], 1), torch.randn(1, model.n_tokens)
    assert torch.equal(processor(row, scores), scores)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_as_long_as_its_network_s_window(kind):
    """The question is then far behind, and has left the last tokens that are read first."""
    tokenizer = sum_tokenizer(kind)
    word = task("reverse").draw(random.Random(0), 191)
    wanted = {asked("reverse", word): " " + word[::-1], f"{'9' * 95}+{'9' * 95}=": f"1{'9' * 94}8"}
    for prompt, answer in wanted.items():
        ids = tokenizer(prompt)["input_ids"]
        processor = GateProcessor(Gate(["reverse", "addition"]), tokenizer)
        scores, start = torch.zeros(1, len(tokenizer)), len(ids)
        while (row := processor(torch.tensor([ids]), scores)[0]).max() == 0 > row.min():
            if (row > -torch.inf).sum() > 1:
                break
            ids.append(int(row.argmax()))
        assert tokenizer.decode(ids) == tokenizer.decode(ids[:start]) + answer


def test_a_longer_answer_is_not_begun(digits):
    rule = SymbolicRule("much", r"(\w)=", lambda given: [g * 400 for g in given], guard="", sep="")
    gate = Gate([rule])
    assert replies(digits, ["x="], gate, 3) == replies(digits, ["x="], None, 3)
    assert gate.abstentions[0].reason.startswith("too_long: a processor")
    assert not gate.log
    assert wb.generate(digits, ["x="], max_new_tokens=400, rule=gate)[0][0].startswith("x" * 400)


def test_networks_are_asked_once_an_answer(digits, monkeypatch):
    calls, each = [], task("addition")
    rule = SymbolicRule(
        "sum", r"(\d+)(\+)(\d+)=", lambda given: calls.append(given) or each.run(given)
    )
    replies(digits, ["12+34=", "99+1=", "12+34="], Gate([rule]), 8, do_sample=False)
    assert calls == [["12+34", "99+1"]]


@pytest.mark.parametrize("gate", [None, "addition", ["addition"]])
def test_what_is_no_gate(digits, gate):
    with pytest.raises(ValueError, match="it must be a Gate"):
        GateProcessor(gate, digits.tokenizer)


def test_what_does_not_decode():
    with pytest.raises(ModelError, match="object has no decode"):
        GateProcessor(Gate(RULES), object())


def test_words(digits):
    chats = [asked("reverse", "stressed", "is"), asked("parity", "1011", "is"), "the reverse is"]
    rules = [task_rule(name, trigger="is") for name in ("reverse", "parity")]
    got = replies(digits, chats, Gate(rules), 12, do_sample=False)
    assert got[0].startswith(" desserts")
    assert got[1].startswith(" 1")
    assert got[2] == replies(digits, chats, None, 12, do_sample=False)[2]
