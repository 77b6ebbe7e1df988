"""The notebooks in real JupyterLab in headless Chromium: they run, and figures are drawn."""

import re

from playwright.sync_api import expect


def test_quickstart_runs_and_draws(lab):
    book = lab.root / "00_quickstart.ipynb"
    text = book.read_text(encoding="utf-8")
    assert 'str = \\"auto\\"' in text
    # The real model would take longer than anything may here.
    book.write_text(text.replace('str = \\"auto\\"', 'str = \\"tiny\\"'), encoding="utf-8")
    page = lab.open("00_quickstart", height=2600)
    lab.run(page)
    page.wait_for_function(
        "document.querySelectorAll('.jp-OutputArea-output .main-svg').length > 3"
    )
    expect(page.locator(".jp-Notebook")).to_contain_text(
        re.compile(r"torch\.Size\(\[1, \d+, \d+\]\)")
    )
    errors = page.query_selector_all("[data-mime-type='application/vnd.jupyter.stderr'] .error")
    page.screenshot(path=lab.shots / "quickstart.png")
    page.close()
    assert not errors
