"""The released questionnaire and answers of PAPI."""

import pytest


@pytest.fixture
def papi(shared):
    folder = shared / "papi"
    if not folder.is_dir():
        pytest.skip(f"nothing released at {folder}")
    return folder
