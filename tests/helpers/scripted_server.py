"""Servers that speak the OpenAI protocol as a script says, and draws from them."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SOON = {"Retry-After": "0.01"}
CHAT = [{"role": "user", "content": "How do I mend the gate of Mara?"}]
PROMPTS = ["Sure, mend", "No, do not curse the gate", "Never look at", "You can clean the hammer."]


class Script(ThreadingHTTPServer):
    """Answers as `answer(call)` says: (status, JSON or bytes, headers), or None to hang up.

    `models` are the names listed, or an answer of that kind.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[dict], Any], models: Any):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.models = models
        self.calls: list[dict] = []
        self.bodies: list[dict] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # a client that hung up


class Handler(BaseHTTPRequestHandler):
    server: Script
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        assert self.path == "/v1/models"
        models = self.server.models
        if isinstance(models, list):
            models = (200, {"object": "list", "data": [{"id": name} for name in models]}, {})
        self.reply(*models)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = {"path": self.path, "key": self.headers["Authorization"], **body}
        self.server.calls.append(call)
        self.server.bodies.append(body)
        answer = self.server.answer(call)
        if answer is None:
            self.close_connection = True
        else:
            self.reply(*answer)

    def reply(self, status, content, headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def scripted():
    """A function (answer, models) that starts a `Script`; all have ended after the block."""
    started = []

    def start(answer, models=None) -> Script:
        server = Script(answer, ["m"] if models is None else models)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        started.append((server, thread))
        return server

    try:
        yield start
    finally:
        for server, thread in started:
            server.shutdown()
            server.server_close()
            thread.join()


def said(*texts, reason="stop", tokens=7, **more):
    """A well-formed answer."""

    def content(call, text):
        chat = call["path"].endswith("chat/completions")
        return {"message": {"role": "assistant", "content": text}} if chat else {"text": text}

    def answer(call):
        choices = [
            {"index": i, "finish_reason": reason, **content(call, text), **more}
            for i, text in enumerate(texts or [f"t{i}" for i in range(call.get("n", 1))])
        ]
        usage = {"prompt_tokens": 5, "completion_tokens": tokens}
        return 200, {"choices": choices, "usage": usage}, {}

    return answer


def refusing(status, message, *fields, **details):
    """Refuses a call that has one of `fields`, else answers."""

    def answer(call):
        if set(fields) & set(call):
            return status, {"error": {"message": message, **details}}, SOON
        return said()(call)

    return answer


def kept_before(error, match, endpoint, requests) -> dict[int, str]:
    """Texts by request, of a draw that ends in this error."""
    kept = {}
    draw = endpoint.draw(requests, [range(request.draws) for request in requests])
    with pytest.raises(error, match=match):
        kept.update((i, sample.text) for batch in draw for i, _, sample in batch)
    return kept


def drawn(endpoint, requests, missing=None):
    missing = missing or [range(request.draws) for request in requests]
    found = [one for batch in endpoint.draw(requests, missing) for one in batch]
    return {(place, k): sample for place, k, sample in found}


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
