"""A server that sends bytes written by hand: what no honest HTTP library would."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

DRIP = 0.05


class RawServer:
    """Calls `send(connection, request)` for each request, bytes as they came, until it returns.

    `requests`: what came, `url`: where.
    """

    def __init__(self, send: Callable[[socket.socket, bytes], None]):
        self.send, self.requests, self.over = send, [], False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            # All of it: closing with bytes unread would cut off the reply.
            head, _, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            while length and len(body) < int(length[1]):
                body += connection.recv(65536)
            request = head + b"\r\n\r\n" + body
            self.requests.append(request)
            self.send(connection, request)

    def close(self):
        self.over = True
        self.listener.close()


@contextlib.contextmanager
def raw_servers() -> Iterator[Callable]:
    """A function that starts a `RawServer`; all are closed after the block."""
    started = []

    def start(send) -> RawServer:
        started.append(RawServer(send if callable(send) else lambda c, _: c.sendall(send)))
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.close()


def http(body: bytes | object, *headers: str, status: str = "200 OK") -> bytes:
    """A whole reply; anything but bytes as JSON."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def said(text="one", **more) -> dict:
    """A completion as JSON; `more` is the choice's."""
    choice = {"index": 0, "text": text, "finish_reason": "stop", **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}


def dripping(before: bytes, drop: bytes) -> Callable:
    """Sends `before`, then `drop` again and again for 20 seconds."""

    def send(connection, request):
        connection.sendall(before)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            connection.sendall(drop)
            time.sleep(DRIP)

    return send
