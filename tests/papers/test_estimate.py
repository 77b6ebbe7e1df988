"""What a run is going to take, held against a clock that every forward moves on."""

import pytest
import torch
from transformers import PreTrainedModel

import workbench as wb
from workbench.errors import ContextLengthError
from workbench.generation.local import LocalBackend
from workbench.models.prompts import encode_all, messages
from workbench.papers import estimate
from workbench.papers.estimate import Pace, Part, pace, spelled


class Clock:
    """Seconds that each forward takes: a constant, and a part for every row or token in it."""

    def __init__(self, constant, each):
        self.now, self.constant, self.each, self.forwards = 0.0, constant, each, 0

    def __call__(self):
        return self.now

    def tick(self, module, args, kwargs):
        if isinstance(module, PreTrainedModel) and hasattr(module, "lm_head"):
            ids = args[0] if args else kwargs["input_ids"]
            self.now += self.constant + self.each * ids.numel()
            self.forwards += 1


@pytest.fixture
def ticking():
    """(constant, each) → a clock that all forwards move on while the test runs."""
    handles = []

    def start(constant, each):
        clock = Clock(constant, each)
        hook = torch.nn.modules.module.register_module_forward_pre_hook
        handles.append(hook(lambda module, args: clock.tick(module, args, {})))
        return clock

    yield start
    for handle in handles:
        handle.remove()


@pytest.fixture(scope="module")
def prompts():
    return [messages(row["prompt"]) for row in wb.load_data("requests", "test")[:60]]


@pytest.mark.parametrize(("constant", "each"), [(0.01, 0.0), (0.0, 0.01), (0.02, 0.002)])
def test_a_call_takes_what_was_said_of_it(tiny, prompts, ticking, constant, each):
    clock = ticking(constant, each)
    speed = pace(tiny, prompts, 72, seconds=1e9, clock=clock)
    tokens = sum(len(e.ids) for e in encode_all(tiny, prompts))
    before = clock.now
    wb.generate(tiny, prompts, max_new_tokens=72)
    took = clock.now - before
    assert speed.replies(len(prompts), tokens, 72) == pytest.approx(took, rel=1 / 3)
    # Pads are read, too.
    assert speed.reads(tokens) == pytest.approx(constant + each * tokens, rel=1 / 3)
    assert speed.trains(tokens) == pytest.approx(3 * speed.reads(tokens))


def test_two_seconds_are_enough_and_what_has_not_ended_counts_in_full(tiny, prompts, ticking):
    clock = ticking(0.1, 0.0)
    speed = pace(tiny, prompts, 72, seconds=2.0, clock=clock)
    assert clock.now <= 2.0 + 0.1 * (estimate.STEPS + 2)
    assert (speed.mean, speed.longest) == (72, 72)
    assert speed.step == pytest.approx((0.1, 0.0))
    slow = ticking(60.0, 0.0)
    pace(tiny, prompts, 72, clock=slow)
    assert slow.forwards <= 3 * estimate.STEPS


def test_replies_that_end_early_and_few_prompts(tiny, ticking):
    clock = ticking(0.0, 1.0)
    chats = [messages("How do I mend the gate?")]
    speed = pace(tiny, chats, 72, seconds=1e9, clock=clock)
    (result,) = wb.complete(tiny, [wb.GenRequest(chats[0], max_new_tokens=72)])
    assert speed.mean == speed.longest == result.samples[0].n_tokens
    assert pace(tiny, chats, 1, clock=clock).step == (0.0, 0.0)


def test_what_cannot_be_measured_is_refused_before_anything_is_decoded(tiny, prompts, monkeypatch):
    monkeypatch.setattr(LocalBackend, "stream", None)
    with pytest.raises(ValueError, match="no prompts"):
        pace(tiny, [], 8)
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        pace(tiny, prompts, 0)
    with pytest.raises(ContextLengthError, match="request 40"):
        pace(tiny, [*prompts[:40], "How " * 460, *prompts[40:]], 72)


def test_what_is_said():
    text = spelled([Part("captures", 3, 20.0), Part("replies", 1000, 0.12), Part("none", 0, 9.0)])
    first, *lines = text.splitlines()
    assert first.startswith("About 3.0 minutes (2.0 to 4.0) at the speed just measured")
    assert lines == ["    2.0 minutes: 1,000 × replies", "    60.0 seconds: 3 × captures"]
    assert spelled([Part("replies", 1, 7200.0)]).startswith("About 2.0 hours (1.3 to 2.7)")
    assert spelled([Part("replies", 3, 2.0)]).startswith("About 6.0 seconds (4.0 to 8.0)")


def test_a_pace_adds_up():
    speed = Pace((1.0, 0.5), (0.25, 0.125), mean=10, longest=20)
    assert speed.reads(4) == 3.0
    assert speed.replies(8, 4, 100) == 3.0 + 0.25 * 20 + 0.125 * 8 * 10
    assert speed.replies(8, 4, 5) == 3.0 + 0.25 * 5 + 0.125 * 8 * 5
