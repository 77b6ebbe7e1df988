"""What a hostile server cannot do: hold a call, fill the memory, lead it elsewhere."""

import gzip
import json
import signal
import threading
import time

import pytest

from tests.helpers.raw_server import dripping, http, raw_servers, said
from tests.helpers.scripted_server import drawn
from workbench.errors import GenerationError
from workbench.generation import server_limits
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import GenRequest

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 100000\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
KEY = "sk-this-is-a-secret-0123456789"
HELLO = [GenRequest("Hello")]


@pytest.fixture
def raw():
    with raw_servers() as start:
        yield start


def redirect(status, where):
    return http(b"", f"Location: {where}", status=f"{status} Moved")


SLOW = {
    "silence": dripping(b"", b""),
    "status line": dripping(b"HTTP/1.1 200 O", b"K"),
    "interim replies": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "header": dripping(OK + b"X: ", b"a"),
    "headers": dripping(OK, b"X: a\r\n"),
    "space before the JSON": dripping(SIZED, b" "),
    "space after the JSON": dripping(SIZED + b"{}", b" "),
    "chunks": dripping(CHUNKED, b"1\r\n \r\n"),
    "chunk extension": dripping(CHUNKED + b"1;", b"a"),
    "trailers": dripping(CHUNKED + b"0\r\n", b"X: a\r\n"),
    "until closed": dripping(OK + b"\r\n", b" "),
    "error body": dripping(b"HTTP/1.1 400 No\r\nContent-Length: 9000\r\n\r\n", b" "),
    "gzip": dripping(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b" ")[:10], b""),
    "429 for ever": http(b"", "Retry-After: 0.05", status="429 Slow"),
    "429 for two minutes": http(b"", "Retry-After: 119", status="429 Slow"),
    "503 in the past": http(b"", "Retry-After: -3", status="503 Busy"),
    "500 to be tried again": http(b"", "x-should-retry: true", status="500 No"),
    "hangs up": b"",
}


@pytest.mark.parametrize("send", SLOW.values(), ids=SLOW)
def test_a_call_ends_in_time_whatever_is_slow(raw, send):
    endpoint = Endpoint(raw(send).url, model="m", timeout=0.6, retries=1000)
    start = time.monotonic()
    with pytest.raises(GenerationError, match=r"request 0.*timeout=0\.6 seconds, retries and pau"):
        drawn(endpoint, HELLO)
    assert time.monotonic() - start < 5


def test_so_does_the_listing(raw):
    with pytest.raises(GenerationError, match=r"timeout=0\.5 seconds"):
        Endpoint(raw(SLOW["chunks"]).url, timeout=0.5).check(HELLO)


def test_the_last_status_is_told(raw):
    endpoint = Endpoint(raw(SLOW["429 for ever"]).url, model="m", timeout=0.5, retries=1000)
    with pytest.raises(GenerationError, match="last reply had status 429"):
        drawn(endpoint, HELLO)


@pytest.mark.parametrize("after", ["1000000000", "1e400", "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_a_server_that_asks_for_years_is_not_waited_for(raw, after):
    server = raw(http(b"", f"Retry-After: {after}", status="429 Slow"))
    start = time.monotonic()
    with pytest.raises(GenerationError, match=f"429 and asks to come again after {after}"):
        drawn(Endpoint(server.url, model="m", retries=3), HELLO)
    assert time.monotonic() - start < 5
    assert len(server.requests) == 1


@pytest.mark.parametrize("pause", [0, 0.05])
@pytest.mark.parametrize("status", ["200 OK", "504 Late"])
def test_a_second_reply_never_answers_the_next_prompt(raw, pause, status):
    """Of a server that keeps connections open, and sends more on them than was asked for."""
    tries = []

    def send(connection, request):
        while request:
            text = json.loads(request.partition(b"\r\n\r\n")[2])["prompt"]
            tries.append(text)
            first = status if tries.count(text) == 1 else "200 OK"
            reply = http(said(text), "Retry-After: 0.1", status=first)
            connection.sendall(reply.replace(b"Connection: close\r\n", b""))
            time.sleep(pause)
            connection.sendall(http(said("STRAY")).replace(b"Connection: close\r\n", b""))
            request = connection.recv(65536)

    endpoint = Endpoint(raw(send).url, model="m", concurrency=1)
    samples = drawn(endpoint, [GenRequest(f"q{i}") for i in range(4)])
    assert [samples[i, 0].text for i in range(4)] == ["q0", "q1", "q2", "q3"]


BIG = b" " * 3_000_000
LARGE = {
    "body": http(BIG),
    "until closed": OK + b"\r\n" + BIG,
    "chunks": CHUNKED + b"100000\r\n" + b" " * 0x100000 + b"\r\n100000\r\n" + b" " * 0x100000,
    "gzip": http(gzip.compress(BIG), "Content-Encoding: gzip"),
    "deflate twice announced": http(gzip.compress(BIG), "Content-Encoding: deflate"),
    "error": http(BIG, status="400 No"),
    "server error": http(BIG, status="500 No"),
}


@pytest.mark.parametrize("send", LARGE.values(), ids=LARGE)
def test_a_reply_that_is_too_large(raw, send, monkeypatch):
    monkeypatch.setattr(server_limits, "MOST_BYTES", 1 << 20)
    endpoint = Endpoint(raw(send).url, model="m", timeout=20, retries=0)
    with pytest.raises(GenerationError, match=r"more than 1 MiB .*ask for fewer"):
        drawn(endpoint, HELLO)


def test_packed_replies(raw):
    for coding in ("gzip", "identity", "X-GZIP"):
        body = http(said()) if coding == "identity" else gzip.compress(http(said()))
        packed = coding != "identity"
        whole = gzip.compress(http(said()).partition(b"\r\n\r\n")[2]) if packed else body
        reply = http(whole, f"Content-Encoding: {coding}") if packed else body
        (sample,) = drawn(Endpoint(raw(reply).url, model="m"), HELLO).values()
        assert sample.text == "one"
    for coding, body in (("br", b"x"), ("gzip, gzip", b"x"), ("gzip", b"no gzip")):
        reply = http(body, f"Content-Encoding: {coding}")
        with pytest.raises(GenerationError, match=r"not asked for|damaged"):
            drawn(Endpoint(raw(reply).url, model="m", retries=0), HELLO)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:{other}/v1", "//localhost:{port}/v1", "https://127.0.0.1:{port}/v1",
     "http://a@b:{port}/v1"],
)  # fmt: skip
def test_redirects_elsewhere_are_refused_and_the_key_stays(raw, monkeypatch, status, place):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    other = raw(http(said()))
    where = {}
    server = raw(lambda c, _: c.sendall(redirect(status, where["to"])))
    where["to"] = place.format(other=other.port, port=server.port)
    endpoint = Endpoint(server.url, model="m", retries=2)
    with pytest.raises(GenerationError, match=r"redirects.*give"):
        drawn(endpoint, HELLO)
    with pytest.raises(GenerationError, match="redirects to another host"):
        Endpoint(server.url).check(HELLO)
    assert not other.requests
    assert len(server.requests) == 2


def test_redirects_on_the_same_host(raw):
    def send(connection, request):
        moved = b"/v2/" not in request.partition(b"\r\n")[0]
        connection.sendall(redirect(308, "/v2/completions") if moved else http(said()))

    server = raw(send)
    assert len(drawn(Endpoint(server.url, model="m"), HELLO)) == 1
    assert b'"Hello"' in server.requests[1]
    for status in (301, 302, 303):  # these would ask without the prompt
        server = raw(lambda c, r, status=status: c.sendall(
            redirect(status, "/v2/x") if b"POST" in r else http(said())))  # fmt: skip
        with pytest.raises(GenerationError, match="lose the prompt"):
            drawn(Endpoint(server.url, model="m"), HELLO)
        assert len(server.requests) == 1


@pytest.mark.parametrize("where", ["/v1/completions", "http://[", "", "mailto:x"])
def test_redirects_that_lead_nowhere_end(raw, where):
    with pytest.raises(GenerationError):
        drawn(Endpoint(raw(redirect(307, where)).url, model="m", retries=1, timeout=5), HELLO)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_a_dripping_call_and_keeps_what_came(raw):
    drip = dripping(SIZED, b" ")

    def send(connection, request):
        if b"Hello 0" in request:
            connection.sendall(http(said()))
        else:
            drip(connection, request)

    endpoint = Endpoint(raw(send).url, model="m", concurrency=2)
    main = threading.main_thread().ident
    timer = threading.Timer(1.0, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    start, finished = time.monotonic(), []
    requests = [GenRequest(f"Hello {i}") for i in range(5)]
    batches = (one for batch in endpoint.draw(requests, [[0]] * 5) for one in batch)
    with pytest.raises(KeyboardInterrupt):
        finished.extend(batches)
    assert time.monotonic() - start < 5
    assert [place for place, _, _ in finished] == [0]
    assert not [t for t in threading.enumerate() if "portal" in t.name]


@pytest.mark.parametrize("key", ["sk-\x00a", "sk-é", "sk\n-a"])
def test_a_key_that_no_header_carries(raw, monkeypatch, key):
    monkeypatch.setattr(server_limits.os, "environ", {"OPENAI_API_KEY": key})
    with pytest.raises(GenerationError, match="OPENAI_API_KEY holds char") as caught:
        drawn(Endpoint(raw(http(said())).url, model="m"), HELLO)
    assert key not in str(caught.value)
