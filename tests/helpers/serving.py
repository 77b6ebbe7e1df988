"""A real OpenAI-compatible server on loopback: `transformers serve` on a model folder."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

NAME = "workbench/served"
_RUN = "from transformers.cli.transformers import main; main()"
# Straight to loopback, whatever proxy the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def serving(folder: Path, name: str = NAME, timeout: float = 120.0) -> Iterator[str]:
    """Serve `folder` as `name` on a free loopback port; yields the base URL, ending in /v1.

    The server's hub cache is a temporary one that holds this model alone, so that `/v1/models`
    lists `name` and nothing else. The process has ended when the block is left.

    Raises `RuntimeError`, with the end of the server's output, where it does not become healthy
    within `timeout` seconds.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        _as_hub_cache(Path(folder), Path(scratch) / "hub", name)
        output = Path(scratch) / "output.txt"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-c", _RUN, "serve", name, "--device", "cpu",
                 "--host", "127.0.0.1", "--port", str(port)],
                env=_environment(Path(scratch)), stdin=subprocess.DEVNULL,
                stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                _wait(f"http://127.0.0.1:{port}/health", process, output, timeout)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                _end(process)


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _as_hub_cache(folder: Path, cache: Path, name: str) -> None:
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "snapshots").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir()
    for file in folder.resolve().iterdir():
        (snapshot / file.name).symlink_to(file)


def _environment(scratch: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(scratch),
        "HF_HUB_CACHE": str(scratch / "hub"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _wait(health: str, process: subprocess.Popen, output: Path, timeout: float) -> None:
    end = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), _OPENER.open(health, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    tail = output.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(
        f"transformers serve did not become healthy (exit {process.poll()}):\n{tail}"
    )


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)
