"""What SafetyLock's tests share: pairs, and what capturing them gives."""

import pytest

import workbench as wb
from workbench.papers.safetylock.lock import contrast_activations


@pytest.fixture(scope="session")
def pairs():
    return wb.load_data("preference")[:30]


@pytest.fixture(scope="session")
def contrast(tiny, pairs):
    return contrast_activations(tiny, pairs, r=3)
