"""The notebooks in real JupyterLab in headless Chromium: they run, and figures are drawn."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from workbench.paths import notebook_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --disable-quic"
).split()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a copy of the notebooks."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    root = tmp_path_factory.mktemp("lab")
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
            pytest.fail("JupyterLab did not start")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def test_quickstart_runs_and_draws(lab, tmp_path):
    from playwright.sync_api import sync_playwright

    shots = Path(os.environ.get("WORKBENCH_SCREENSHOTS", tmp_path))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 2600})
        page.goto(f"{lab}/lab/tree/00_quickstart.ipynb")
        page.wait_for_function("window.jupyterapp !== undefined", timeout=90_000)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=90_000)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(
            "document.querySelectorAll('.jp-OutputArea-output .main-svg').length > 3"
            " && [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
            ".every(p => /\\d/.test(p.innerText))",
            timeout=120_000,
        )
        text = page.inner_text(".jp-Notebook")
        errors = page.query_selector_all("[data-mime-type='application/vnd.jupyter.stderr'] .error")
        page.screenshot(path=shots / "quickstart.png")
        browser.close()
    assert not errors
    assert "Traceback" not in text
    assert re.search(r"torch\.Size\(\[1, \d+, \d+\]\)", text)
