"""A real JupyterLab, and a headless Chromium that opens notebooks in it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect, sync_playwright

from workbench.paths import notebook_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --disable-quic"
).split()
SHOTS = Path(os.environ.get("WORKBENCH_SCREENSHOTS", Path(__file__).parent / "screenshots"))
SLOW = 150_000
"""Milliseconds that anything may take on a busy machine."""
expect.set_options(timeout=SLOW)


class Lab:
    """JupyterLab at `address`, serving `root`; screenshots go to `shots`."""

    def __init__(self, address, root, browser):
        self.address, self.root, self.browser, self.shots = address, root, browser, SHOTS

    def open(self, name, height=1600, dark=False):
        """A page with a notebook of the root, its kernel idle."""
        page = self.browser.new_page(viewport={"width": 1280, "height": height})
        page.set_default_timeout(SLOW)
        page.goto(f"{self.address}/lab/tree/{name}.ipynb?reset")
        page.wait_for_function("window.jupyterapp !== undefined")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", state="attached")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
        page.keyboard.press("Control+b")
        if dark:
            theme = "{theme: 'JupyterLab Dark'}"
            page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {theme})")
        return page

    def run(self, page):
        """Run all cells and wait until each has been."""
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(
            "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
            ".every(p => /\\d/.test(p.innerText))"
        )
        assert "Traceback" not in page.inner_text(".jp-Notebook")

    def notebook(self, name, *cells):
        """Write a notebook of code cells into the root."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        book.metadata["kernelspec"] = {
            "name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"
        }  # fmt: skip
        nbformat.write(book, self.root / f"{name}.ipynb")


@contextmanager
def running(root):
    """A JupyterLab on a copy of the notebooks below `root`, and a browser."""
    shutil.copytree(notebook_folder(), root / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--IdentityProvider.token=",
            "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={root / 'notebooks'}",
            "--KernelManager.transport=ipc",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root,
        env={**os.environ, "JUPYTER_CONFIG_DIR": str(root / "config")},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1)
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.5)
        else:
            raise RuntimeError("JupyterLab did not start")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            yield Lab(address, root / "notebooks", browser)
            browser.close()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:  # on a busy machine; what was tested is done
            server.kill()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab and a browser, for the tests of a module."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium on this machine, and CI is set: the UIs must be tested there")
        pytest.skip("no chromium on this machine")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with running(tmp_path_factory.mktemp("lab")) as found:
        yield found
