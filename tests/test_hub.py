"""What the hub refuses is said with what to do, and asked once; our own hub answers as the real."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import datasets
import httpx2
import huggingface_hub
import pytest
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub import constants

from tests.helpers import hub as stand_in
from workbench import hub
from workbench.errors import DatasetError, ModelError
from workbench.hub import hub_rows, require

REFUSED = {  # the answer as huggingface.co sends it, X-Error-Code, X-Error-Message; what we say
    "gated": (403, "GatedRepo", "Access is restricted", "is gated: read its licence and accept its "
              "terms at {page}, then set HF_TOKEN"),
    "gated-no-token": (401, "GatedRepo", "Access is restricted", "is gated: read its licence and "
                       "accept its terms at {page}, then set HF_TOKEN"),
    "absent": (404, "RepoNotFound", "Repository not found", "is not on the hub, or private: check "
               "{page} and HF_TOKEN"),
    "private": (401, "RepoNotFound", "Repository not found", "is not on the hub, or private"),
    "wrong-token": (401, "", "Invalid credentials in Authorization header",
                    "is refused by the hub: Client error '401 Unauthorized'"),
    "forbidden": (403, "", "No way", "is refused by the hub: 403 Forbidden: No way"),
    "disabled": (403, "", "Access to this resource is disabled.", "is refused by the hub: 403"),
    "broken": (500, "", "Internal Error", "is refused by the hub: Server error '500 Internal"),
    "busy": (429, "", "", "is refused by the hub: 429 Too Many Requests"),
}  # fmt: skip


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The address of a hub that refuses `who/NAME` as `REFUSED` says, and the paths asked of it."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            name = next((name for name in REFUSED if f"/who/{name}/" in self.path), None)
            status, code, message = REFUSED[name][:3] if name else (200, "", "")
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    address = f"http://127.0.0.1:{httpd.server_port}"
    for module, name, value in (
        (constants, "HF_HUB_OFFLINE", False),
        (constants, "ENDPOINT", address),
        (constants, "HF_HUB_CACHE", str(tmp_path)),
        (constants, "HUGGINGFACE_CO_URL_TEMPLATE",
         address + "/{repo_id}/resolve/{revision}/{filename}"),
        (huggingface_hub.hf_api.api, "endpoint", address),
        (datasets.config, "HF_HUB_OFFLINE", False),
        (datasets.config, "HF_ENDPOINT", address),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    yield address, asked
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_model_says_what_to_do(server, name):
    address, asked = server
    with pytest.raises(ModelError) as caught:
        require(f"who/{name}")
    reason = REFUSED[name][-1].format(page=f"{address}/who/{name}")
    assert str(caught.value).startswith(f"who/{name} {reason}")
    assert str(caught.value).endswith(", or pass a local folder.")
    assert [path for path in asked if name in path] == [f"/api/models/who/{name}/auth-check"]


@pytest.mark.parametrize("name", ["gated", "gated-no-token", "absent", "private"])
def test_a_refused_set_says_what_to_do(server, name):
    address, asked = server
    with pytest.raises(DatasetError) as caught:
        hub_rows(f"who/{name}", "train")
    reason = REFUSED[name][-1].format(page=f"{address}/datasets/who/{name}")
    assert str(caught.value).startswith(f"who/{name} {reason}")
    assert ", or give a local file. (Dataset 'who/" in str(caught.value)
    # The library asks for the card, we ask why: nobody tries again.
    assert len([path for path in asked if name in path]) == 2
    assert asked[-1] == f"/api/datasets/who/{name}/auth-check"


def test_a_model_that_is_given_passes(server):
    require("who/what")
    assert hub.refusal("who/what", "dataset") == ""


@pytest.mark.parametrize(
    "failure",
    [
        DatasetGenerationError("An error occurred while generating the dataset"),
        DatasetNotFoundError("Dataset 'who/gated' is a gated dataset on the Hub."),
        httpx2.ConnectTimeout("slow"),
        OSError("disk"),
    ],
)
def test_whatever_the_library_raises_the_hub_says_why(server, monkeypatch, failure):
    stand_in.fail(monkeypatch, failure)
    with pytest.raises(DatasetError, match=r"who/gated is gated: .*/datasets/who/gated, then"):
        hub_rows("who/gated", "train")
    with pytest.raises(DatasetError, match=r"who/what cannot be read from the hub.*a local file"):
        hub_rows("who/what", "train")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ValueError("Unknown split \"x\". Should be one of ['train', 'test']."), "'test'"),
        (ValueError("Config name is missing.\nPlease pick one:\n['main', 'b']"), "'main', 'b'"),
        (RuntimeError("Dataset scripts are no longer supported, but found a.py"), "found a.py"),
    ],
)
def test_a_split_a_config_and_a_script_are_named_without_asking(monkeypatch, failure, reason):
    monkeypatch.setattr(hub, "refusal", None)
    stand_in.fail(monkeypatch, failure)
    message = rf"who/what cannot be read .*no script of its own is run.*local file.*{reason}"
    with pytest.raises(DatasetError, match=message):
        hub_rows("who/what", "x")


def test_the_rows_of_a_set(monkeypatch):
    asked = stand_in.serve(monkeypatch, [{"a": 1}, {"a": 2}])
    assert list(hub_rows("who/what", "train[:2]")) == [{"a": 1}, {"a": 2}]
    list(hub_rows("who/what", "test", "main"))
    assert asked == [("who/what", None, "train[:2]"), ("who/what", "main", "test")]


def test_a_hub_that_does_not_answer(server, monkeypatch):
    address = server[0]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    stand_in.fail(monkeypatch, ConnectionError("no route\nat all"))
    reason = "cannot be reached: it is not in the local cache, and the hub does not answer. Check"
    with pytest.raises(ModelError, match=f"who/what {reason} .*HF_HUB_OFFLINE, or pass a local"):
        require("who/what")
    with pytest.raises(DatasetError, match=rf"who/what {reason} .*file. \(no route at all\)$"):
        hub_rows("who/what", "test")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=reason):
        require("who/what")


def test_the_library_does_not_try_again_where_no_hub_answers(server, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match=r"who/what cannot be reached: .*local file"):
        hub_rows("who/what", "test")
    assert server[1] == []
    assert not datasets.config.HF_HUB_OFFLINE
