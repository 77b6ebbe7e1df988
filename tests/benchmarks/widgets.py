"""How fast the UIs are, measured in JupyterLab in headless Chromium: `-m tests.benchmarks.widgets`.

First paint of each UI after its cell runs; from an alpha change to the first changed token, beside
one plain generate step; sort and filter of a table of 16,384 features; a slider of the evidence
graph; what the UI adds to generation, CPU seconds of the kernel in interleaved pairs.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from tests.browser.conftest import running

SETUP = """\
import torch
torch.set_num_threads(1)
import workbench as wb
from workbench.papers.safetylock.lock import contrast_activations, find_lock
from workbench.models.prompts import messages
model = wb.load("tiny")
lock, _ = find_lock(contrast_activations(model, wb.load_data("preference")[:60]), 12)"""
FEATURES = """\
%%capture
import copy
from workbench.papers.fpo import presets
from workbench.sae.diff import diff_features
from workbench.sae.pooling import Constraint
from workbench.sae.table import feature_table
from workbench.training.pairs import tokenised
settings = presets.settings("tiny", methods="fpo", alphas="0", held_out=40)
inputs = presets.inputs("tiny", settings)
rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
policy = copy.deepcopy(inputs.reference)
for w in policy.parameters(): w.data += 0.01 * torch.randn_like(w)
diff = diff_features(policy, inputs.reference, rows, inputs.sae, inputs.hook, "features/run",
                     Constraint(k=8))
table = feature_table(diff, inputs.sae)"""
UIS = {
    "steering": ("wb.ui.steering(model, lock)", ".wb-headmap button"),
    "safetylock": ("wb.ui.safetylock(model)", "button:has-text('Discover')"),
    "pas": ("wb.ui.pas()", "button:has-text('Align')"),
    "features": (
        "wb.ui.features(diff, inputs.sae, rows, inputs.tokenizer, table=table, policy=policy, "
        "reference=inputs.reference)",
        ".wb-table tr[tabindex]",
    ),
    "compiled": ("wb.ui.compiled()", "button:has-text('Patch')"),
    "evidence": ("wb.ui.evidence()", "button:has-text('Read')"),
}
OVERHEAD = """\
import time, statistics
ui = wb.ui.steering(model, lock, prompt="How do I curse the gate of Mara?", alpha=1.5)
chats = [messages(ui.prompt.value)] * 2
def seconds(work):
    start = time.process_time(); work(); return time.process_time() - start
def plain():
    with wb.steer(model, lock, [0.0, 1.5], how="hook"): wb.generate(model, chats)
from workbench.widgets import side_by_side
side_by_side.SETTLED = 60  # without the colours, which are one more forward once nothing moves
def shown():
    ui.columns.whole.clear()
    ui.run()
    ui.columns.whole.wait()
plain(); shown(); ratios = []
for i in range(40):
    a, b = (plain, shown) if i % 2 else (shown, plain)
    x, y = seconds(a), seconds(b)
    ratios.append(y / x if i % 2 else x / y)
step = seconds(plain) / 30
print("RATIO", statistics.median(ratios), *statistics.quantiles(ratios, n=4)[::2])
display(ui)"""
STEP = """\
start = time.perf_counter(); wb.generate(model, chats[:1], max_new_tokens=20)
print("STEP", 1000 * (time.perf_counter() - start) / 20)"""
TABLE = """\
import numpy as np, pandas as pd
from workbench.widgets.table import Table
frame = pd.DataFrame(np.random.default_rng(0).normal(size=(16384, 45)),
                     columns=[*"abcdefgh", *map(str, range(37))],
                     index=pd.RangeIndex(16384, name="feature"))
table = Table(frame, list("abcdefgh"), "a")
import ipywidgets
box = ipywidgets.Text(continuous_update=False)
box.observe(lambda c: setattr(table, "filter", c.new), "value")
display(box, table)"""

EVIDENCE = """\
import workbench as wb
from tests.benchmarks.evidence import study
wb.ui.evidence(study())"""

PAINTS = 5
"""Fresh kernels a UI, so that every time counts its imports."""


def printed(page, word: str) -> list[float]:
    """The numbers a cell printed after a word."""
    line = page.locator(f".jp-OutputArea-output pre:has-text('{word}')").first.inner_text()
    found = next(x for x in line.splitlines() if x.startswith(word))
    return [float(x) for x in found.split()[1:]]


def until(page, event: str, change: str, act) -> float:
    """Milliseconds from a DOM event to the first change of the expression `change`, in the page."""
    page.evaluate(
        f"""() => {{ window.took = null; const was = {change};
        document.addEventListener('{event}', () => {{ const start = performance.now();
          const look = () => {{ const now = {change};
            if (now !== was) window.took = performance.now() - start;
            else requestAnimationFrame(look); }}; look(); }}, {{capture: true, once: true}}); }}"""
    )
    act()
    page.wait_for_function("window.took !== null")
    return page.evaluate("window.took")


def paint(lab, name: str, number: int) -> float:
    """Seconds from running a UI's cell to its being drawn, in a notebook and kernel of its own."""
    code, selector = UIS[name]
    lab.notebook(f"paint_{name}_{number}", SETUP, *([FEATURES] if name == "features" else []),
                 f"ui = {code}\nui")  # fmt: skip
    page = lab.open(f"paint_{name}_{number}")
    cells = page.locator(".jp-CodeCell").count()
    for _ in range(cells - 1):
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
    page.wait_for_function(
        "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].slice(0, -1)"
        ".every(p => /\\d/.test(p.innerText))"
    )
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    page.evaluate(
        "window.start = performance.now();"
        "void window.jupyterapp.commands.execute('notebook:run-cell')"
    )
    page.wait_for_selector(f".wb-view.widget-vbox {selector}")
    took = page.evaluate("performance.now() - window.start") / 1000
    page.evaluate("void window.jupyterapp.commands.execute('kernelmenu:shutdown')")
    page.wait_for_selector("text=No Kernel")
    page.close()
    return took


def main() -> None:
    out: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as lab:
        for name in UIS:
            times = sorted(paint(lab, name, n) for n in range(PAINTS))
            out[f"first_paint_{name}_s"] = {
                "median": round(statistics.median(times), 2), "worst": round(times[-1], 2)
            }  # fmt: skip
        lab.notebook("overhead", SETUP, OVERHEAD, STEP)
        page = lab.open("overhead")
        lab.run(page)
        out["generation_ratio_median_quartiles"] = printed(page, "RATIO")
        (step,) = printed(page, "STEP")
        column = "document.querySelector('.wb-view.widget-vbox [data-column=after]').parentElement"
        page.locator(".wb-view .noUi-handle").focus()
        times = []
        for _ in range(15):
            times.append(
                until(page, "keydown", f"{column}.innerText",
                      lambda: page.keyboard.press("ArrowRight"))
            )  # fmt: skip
            page.wait_for_timeout(1500)
        out["alpha_to_token_ms"] = {"median": statistics.median(times), "worst": max(times)}
        out["plain_step_ms"] = step
        page.close()
        lab.notebook("table", SETUP, TABLE)
        page = lab.open("table")
        lab.run(page)
        page.wait_for_selector(".wb-table tr[tabindex]")
        drawn = "document.querySelector('.wb-table').dataset.drawn"
        sorts, filters = [], []
        for name in "bcdefghbcd":
            button = page.locator(f".wb-table th button:has-text('{name}')").last
            sorts.append(until(page, "click", drawn, button.click))
            page.wait_for_timeout(200)
        box = page.locator(".widget-text input")
        for n in range(10):
            box.fill(f"{'abcdefgh'[n % 8]} > {n / 10} and c < 1")
            filters.append(until(page, "keydown", drawn, lambda: box.press("Enter")))
            page.wait_for_timeout(200)
        for name, found in (("sort_16384_ms", sorts), ("filter_16384_ms", filters)):
            out[name] = {"median": statistics.median(found), "worst": max(found)}
        lab.notebook("evidence", EVIDENCE)
        page = lab.open("evidence")
        lab.run(page)
        page.wait_for_selector(".wb-graph [data-node]")
        beside = "document.querySelector('.wb-view.widget-vbox .wb-beside').innerHTML"
        weight, moves = page.locator(".wb-view .noUi-handle").nth(1), []
        for n in range(40):
            weight.focus()
            press = "ArrowRight" if n % 2 else "ArrowLeft"
            moves.append(until(page, "keydown", beside, lambda: page.keyboard.press(press)))  # noqa: B023
            page.wait_for_timeout(200)
        out["evidence_slider_ms"] = {
            "median": statistics.median(moves), "p95": statistics.quantiles(moves, n=20)[-1]
        }  # fmt: skip
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
