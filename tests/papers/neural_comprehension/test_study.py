"""The study on embedded models: exact where the network answers, and only as far as it is read."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

import workbench as wb
from tests.helpers.nc_study import few, one_step
from workbench.papers.neural_comprehension import calls, costs, presets, prompts, study
from workbench.papers.neural_comprehension.paper import Settings
from workbench.papers.neural_comprehension.tasks import TASKS
from workbench.runs.cache import cached


@pytest.fixture(scope="module")
def model():
    return presets.model("tiny")


@pytest.mark.parametrize("task", TASKS)
def test_gated_answers_are_right_at_any_length_and_ungated_ones_are_not(model, task):
    settings = few(tasks=(task,), lengths=(2, 15, 40), rows=6, observed=2)
    step = study.tried(model, task, settings)
    short, middle, long = (study.Cell(**cell) for cell in step["cells"])
    for cell in (short, middle, long):
        assert cell.right("gated") == [1.0] * 6
        assert cell.answers == [TASKS[task].answer(given) for given in cell.asked]
        # A gate that looks on changes nothing.
        assert cell.replies["observed"] == cell.replies["ungated"][:2]
    if task not in ("parity", "last_letter"):
        assert sum(long.right("ungated")) == 0
        assert any(step["disagreed"])


@contextmanager
def changed(task, window, name, place, value):
    """One weight of a network is another while the block runs."""
    weight = dict(TASKS[task].network(window).named_parameters())[name]
    before = weight.detach().clone()
    try:
        with torch.inference_mode():
            weight[place] = value
        yield
    finally:
        with torch.inference_mode():
            weight.copy_(before)


def test_one_carry_weight_that_is_wrong_lowers_what_is_gated(model):
    """The answers come from the network's logits, not from anybody's addition."""
    settings = few(tasks=("addition",), lengths=(4,), rows=20, observed=0)

    def accuracy():
        (cell,) = study.tried(model, "addition", settings)["cells"]
        return sum(study.Cell(**cell).right("gated")) / 20

    network = TASKS["addition"].network(16)
    carry = next(i for i, label in enumerate(network.config.labels) if label == "carry=True")
    (column,) = network.layers[2].o.weight[carry].nonzero()[:, 0].tolist()
    assert accuracy() == 1
    with changed("addition", 16, "layers.2.o.weight", (carry, column), 0.0):
        assert accuracy() < 1
    assert accuracy() == 1


def test_what_is_gated_is_what_was_read(model):
    """Gated accuracy equals transcription accuracy, by construction; a calculator's, too."""
    settings = few(digits=(2, 6), stories=20)
    words = presets.words("tiny", settings)
    for cell in study.told(study.engine(model), "pens", words["pens"], settings):
        cell = study.Cell(**cell)
        assert cell.right("gated") == cell.transcribed() == cell.right("program")
        assert sum(cell.right("ungated")) <= sum(cell.right("gated"))
        before = [[prompts.before(r) for r in cell.replies[mode]] for mode in ("ungated", "gated")]
        assert before[0] == before[1]
        if cell.size == 2:
            # A full stop may follow a forced answer.
            assert all(reply.endswith(f"{a}.") for reply, a in zip(
                cell.replies["gated"], cell.answers, strict=True))  # fmt: skip
        if cell.size == 6:
            assert sum(cell.transcribed()) < 5


def test_coins_are_counted_right_once_they_are_read(tmp_path):
    settings = few(flips=(3, 10), stories=20)
    fit = presets.fit("tiny", settings, tmp_path)
    for writer in fit.stages.values():
        for cell in study.told(writer(), "coins", fit.stories, settings):
            cell = study.Cell(**cell)
            read, gated = cell.transcribed(), cell.right("gated")
            assert all(g >= r for g, r in zip(gated, read, strict=True))
            assert sum(read) == 0 if cell.size == 10 else sum(read) > 0


def test_a_step_is_done_once(model, tmp_path, monkeypatch):
    settings = one_step()
    monkeypatch.setattr(study, "exact_limit", lambda task, dtype: 96)
    words = presets.words("tiny", settings)
    first = study.run(model, settings, partial(cached, tmp_path), words)

    def never(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(study, "complete", never)
    again = study.run(model, settings, partial(cached, tmp_path), words)
    assert again == first
    for change in ({"seed": 1}, {"rows": 3}, {"shots": 1}, {"lengths": (4,)}):
        with pytest.raises(AssertionError, match="asked again"):
            study.run(model, replace(settings, **change), partial(cached, tmp_path), words)


def test_what_the_model_would_write_itself_is_no_disagreement(model):
    """It was taught to copy five letters, and does."""
    step = study.tried(model, "copy", few(lengths=(5,), rows=3, observed=3))
    assert study.Cell(**step["cells"][0]).right("ungated") == [1.0] * 3
    assert len(step["disagreed"]) == 3 * 6
    assert not any(step["disagreed"])


def test_inputs_follow_from_task_length_and_seed():
    settings = few(rows=4)
    given = study.inputs("copy", 9, settings)
    assert given == study.inputs("copy", 9, settings) == study.inputs("copy", 9, few(rows=9))[:4]
    assert [len(each) for each in given] == [9] * 4
    others = (("copy", 9, replace(settings, seed=1)), ("reverse", 9, settings))
    assert all(given != study.inputs(*other) for other in others)
    assert study.inputs("reverse_chat", 9, few(stories=3)) != given


def test_no_gate_fires_in_ordinary_texts_and_one_does_where_it_is_asked(model):
    texts = costs.texts(200)
    assert len(set(texts)) == 200
    assert sum("=" in text or "->" in text for text in texts) >= 12
    assert costs.fired(model, texts) == [0] * 200
    assert all(costs.fired(model, ["So 12+30=42, and 1+1=2.", "The copy of abc -> abc"]))


def test_times_are_taken_in_pairs_and_parted(model, monkeypatch):
    """On a clock of ours: 2 s of decoding 4 tokens, 3 s of 5 with a gate; asking it takes 1.5 s,
    1 s of which is the network's."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    class Slow(wb.Rule):
        def forced(self, model, rows):
            assert len(rows) == costs.ROWS
            clock.now += 1.5
            return [()] * len(rows)

    def decoded(model, requests, rule=None):
        clock.now += 3.0 if rule else 2.0
        return [SimpleNamespace(samples=[SimpleNamespace(n_tokens=n)]) for n in (1, 4 + bool(rule))]

    def network(sums):
        clock.now += 1.0

    monkeypatch.setattr(costs, "time", clock)
    monkeypatch.setattr(costs, "complete", decoded)
    monkeypatch.setattr(costs.prompts, "gate", Slow)
    monkeypatch.setattr(costs, "task", lambda name: SimpleNamespace(draw=TASKS[name].draw,
                                                                     run=network))  # fmt: skip
    monkeypatch.setattr(costs, "fired", lambda model, ordinary: [0] * len(ordinary))
    measured = costs.measure(model, few(repeats=3, texts=20))
    assert measured["ratios"] == pytest.approx([1.2] * 3)
    assert measured["idle"] == pytest.approx([1.2] * 3)
    assert measured["parts"] == pytest.approx(
        {"model": 0.5, "asking the gate": 0.1, "network": 0.2}
    )


def test_the_estimate_counts_what_a_run_asks(model, monkeypatch):
    settings = replace(one_step(), observed=1)
    words, asked = presets.words("tiny", settings), []
    monkeypatch.setattr(study, "exact_limit", lambda task, dtype: 96)
    complete = study.complete

    def counting(model, requests, **more):
        asked.append(len(requests))
        return complete(model, requests, **more)

    monkeypatch.setattr(study, "complete", counting)
    parts = calls.parts(model, settings, words)
    assert not asked
    study.run(model, settings, lambda name, key, compute: compute(), words)
    assert sum(part.calls for part in parts) == sum(asked)


def test_the_preset_of_a_model_that_chats():
    """The gate must abstain unless a reply really holds the trigger."""
    settings = replace(Settings().small(), lengths=(3,), stories=2, observed=1, shots=0)
    step = study.tried(wb.load("tiny"), "reverse_chat", settings)
    (cell,) = (study.Cell(**cell) for cell in step["cells"])
    assert cell.replies["gated"] == cell.replies["ungated"]
    assert step["disagreed"] == []
