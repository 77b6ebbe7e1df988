"""Bytes and seconds of a step."""

import math

import pytest
import torch

from workbench.training import memory


def test_bytes_of_a_step_are_those_it_allocates():
    a = torch.zeros(1000, 1000)
    assert memory.held([a, a[:10], torch.nn.Linear(10, 10)]) == 4_000_000 + 440
    assert memory.transient(lambda: a + 1) == pytest.approx(4_000_000, rel=0.01)
    assert memory.transient(lambda: (a + 1) * 2 + 3) == pytest.approx(8_000_000, rel=0.01)
    assert math.isfinite(memory.seconds(lambda: a + 1))
