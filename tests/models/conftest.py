"""What the tests of GGUF files share: a cache folder of their own, and a small file."""

import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path):
    # Skips where no GGUF file can be read; tests of other files must not.
    from tests.helpers.gguf_toys import write

    return write(tmp_path / "toy.gguf")
