"""What every test may ask for, the order of the files, and the table of families at the end."""

import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers fill the cores; threads of each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import transformers

import workbench as wb
from tests.helpers.families import FAMILIES, build
from workbench.models import forward_state
from workbench.paths import data_folder


@pytest.fixture(scope="session")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(data_folder() / "tiny")


@pytest.fixture(scope="session")
def tiny():
    """The embedded model; tests must leave it as they found it."""
    model = wb.load("tiny", device="cpu")
    before = list(model._identity())
    yield model
    assert list(model._identity()) == before


@pytest.fixture
def watched(monkeypatch):
    """Hooks that only look, count or interrupt are let through beside a store."""
    monkeypatch.setattr(forward_state, "_require_known", lambda *_: None)


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=FAMILIES)
def family_model(request, tokenizer):
    return build(request.param, tokenizer)


@pytest.fixture(scope="session")
def shared():
    """Real files for tests; skipped where they are absent."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("WORKBENCH_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder}; set WORKBENCH_SHARED")
    return folder


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker ends alone with one."""
    items.sort(key=lambda item: not {"notebooks", "browser"} & set(item.path.parts))


def pytest_terminal_summary(terminalreporter):
    """List every family, with how many of the tests that ran on it passed."""
    for family in FAMILIES:
        count = {
            outcome: sum(
                f"[{family}]" in r.nodeid or f"[{family}-" in r.nodeid
                for r in terminalreporter.stats.get(outcome, [])
            )
            for outcome in ("passed", "failed")
        }
        if any(count.values()):
            terminalreporter.write_line(
                f"family {family:<20} {count['passed']:>3} passed {count['failed']:>3} failed"
            )
