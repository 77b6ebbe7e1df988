"""A timeline tells whose each token is, and what the model itself thinks of it."""

import math

import pytest
import torch
from transformers import LogitsProcessorList

import workbench as wb
from workbench.models.token_ids import ids_of
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.processor import GateProcessor
from workbench.papers.neural_comprehension.timeline import timeline, timeline_figure


@pytest.fixture(scope="module")
def model():
    return wb.load("sums")


class Told(wb.Rule):
    """A model that says another sum behind the first, and then the gate."""

    def __init__(self, gate, words):
        self.gate, self.words = gate, words

    def forced(self, model, rows):
        told = [self.words if not row.new else () for row in rows]
        return [told_ids or ids for told_ids, ids in
                zip(told, self.gate.forced(model, rows), strict=True)]  # fmt: skip


@pytest.fixture(scope="module")
def gated(model):
    gate = Gate(["addition"])
    gate.triggers(model)
    words = ids_of(model.tokenizer, ["57+68="])[0]
    request = wb.GenRequest("How many? ", max_new_tokens=len(words) + 5)
    wb.complete(model, [request], rule=Told(gate, words))
    wb.complete(model, [wb.GenRequest("3+4=", max_new_tokens=3)], rule=gate)
    return gate


def test_every_token_has_its_owner_and_the_model_s_own_probability(model, gated):
    entry = gated.log[0]
    rows = timeline(model, [entry])
    assert "".join(row["token"] for row in rows) == "57+68=125"
    assert [row["forced"] for row in rows] == [False] * entry.step + [True] * len(entry.ids)
    ids = torch.tensor([[*entry.before, *entry.ids]])
    with torch.no_grad():
        own = model.hf(ids).logits[0].float().log_softmax(-1)
    for i, row in enumerate(rows, len(entry.before) - entry.step):
        assert row["logprob"] == pytest.approx(float(own[i - 1, ids[0, i]]), abs=1e-3)
        assert row["agreed"] == (int(own[i - 1].argmax()) == int(ids[0, i]))


def test_a_processor_s_entries_begin_behind_the_first_token(model):
    gate = Gate(["addition"])
    inputs = model.tokenizer("say 57+68=", return_tensors="pt")
    processors = LogitsProcessorList([GateProcessor(gate, model.tokenizer)])
    inputs.pop("token_type_ids", None)
    model.hf.generate(**inputs, max_new_tokens=6, do_sample=False, logits_processor=processors)
    rows = timeline(model, gate.log)
    assert "".join(row["token"] for row in rows).endswith("57+68=125")
    assert len(rows) == len(gate.log[0].before) + len(gate.log[0].ids) - 1
    assert [row["forced"] for row in rows[-4:]] == [False, True, True, True]
    measured = [row["logprob"] for row in rows if row["forced"]]
    assert measured == pytest.approx(gate.log[0].logprobs, abs=1e-3)


def test_entries_of_two_rows_are_refused(model, gated):
    with pytest.raises(ValueError, match="two rows"):
        timeline(model, gated.log[:2])
    with pytest.raises(ValueError, match="forced nothing"):
        timeline(model, [])


def test_the_figure_shows_the_rows():
    tokens, forced = ["5", "+", "7", "=", " 1", "2", "."], [0, 0, 0, 0, 1, 1, 0]
    chances = [0.9, 0.8, 0.7, 0.9, 0.1, 0.6, 0.5]
    rows = [
        {"token": token, "forced": bool(who), "logprob": math.log(chance), "agreed": chance > 0.5}
        for token, who, chance in zip(tokens, forced, chances, strict=True)
    ]
    own, network, against = timeline_figure(rows, "one sum").data
    assert list(network.x) == [4, 5]
    assert list(network.hovertext) == [" 1", "2"]
    assert list(network.y) == pytest.approx([0.1, 0.6])
    assert list(own.x) == [0, 1, 2, 3, 6]
    assert list(against.x) == [4]
    figure = timeline_figure(rows, "one sum")
    assert list(figure.layout.xaxis.ticktext) == ["5", "+", "7", "=", "␣1", "2", "."]
    rows[0]["token"] = "<s>"  # or it would strike out what follows
    assert timeline_figure(rows, "one sum").layout.xaxis.ticktext[0] == "&lt;s&gt;"
