"""The random model of the questionnaire that PAS's tests share."""

import pytest

from tests.helpers.pas import build


@pytest.fixture(scope="session")
def model():
    """Tests must leave it as they found it."""
    built = build()
    before = built.fingerprint()
    yield built
    assert built.fingerprint() == before
