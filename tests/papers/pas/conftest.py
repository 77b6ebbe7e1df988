"""The random model of the questionnaire, and what is captured of it."""

import pytest

from tests.helpers.pas import INVENTORY, build
from workbench.papers.pas.contrast import contrast_answers


@pytest.fixture(scope="session")
def model():
    """Tests must leave it as they found it."""
    built = build()
    before = built.fingerprint()
    yield built
    assert built.fingerprint() == before


@pytest.fixture(scope="session")
def captured(model):
    return contrast_answers(model, INVENTORY)
