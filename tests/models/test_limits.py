"""Limits of a model and its device."""

import pytest
import torch

from tests.helpers.families import build
from tests.helpers.faults import OUT_OF_MEMORY
from tests.helpers.prompts import longrope
from workbench.models.limits import CPU_TOKENS, Budget, out_of_memory, rope_limit


def test_only_frequencies_that_depend_on_length_limit_a_batch(tokenizer):
    assert rope_limit(longrope(tokenizer)) == 40
    assert rope_limit(build("llama", tokenizer)) is None
    assert rope_limit(build("gpt2", tokenizer)) is None
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    assert rope_limit(build("llama", tokenizer, rope_parameters=dynamic)) == 256


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError(OUT_OF_MEMORY), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, expected):
    assert out_of_memory(error) is expected


def test_a_batch_on_a_cpu_is_small(tiny):
    assert Budget.of(tiny).tokens == CPU_TOKENS
