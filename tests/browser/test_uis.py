"""A tour of each UI in real JupyterLab in headless Chromium; each leaves screenshots."""

import pytest
from playwright.sync_api import expect

import workbench as wb
from workbench.papers.safetylock.lock import contrast_activations, find_lock

STEERING = """\
import torch
torch.set_num_threads(1)
import workbench as wb
model = wb.load("tiny")
lock = wb.HeadDirections.load("lock.safetensors")"""
UI = ".wb-view.widget-vbox"
AFTER = f"{UI} .wb-text[data-column=after]"


def shot(lab, page, name):
    page.evaluate("document.querySelectorAll('.Toastify').forEach(e => e.remove())")
    page.locator(UI).first.screenshot(path=lab.shots / f"{name}.png")


def steady(page, selector, before=None):
    """The text there once it no longer changes (and is not `before`)."""
    last = None
    for _ in range(300):
        text = page.inner_text(selector)
        if text and text == last and text != before:
            return text
        last = text
        page.wait_for_timeout(250)
    pytest.fail(f"{selector} never settled")


@pytest.fixture(scope="module")
def files(lab):
    """A lock beside the notebooks, as a user has it."""
    tiny = wb.load("tiny", device="cpu")
    lock, _ = find_lock(contrast_activations(tiny, wb.load_data("preference")[:60]), 12)
    lock.save(lab.root / "lock.safetensors")
    lock.pick([0, 1, 2]).to_safelock(lab.root / "small.safelock")
    (lab.root / "bad.safetensors").write_bytes(b"no tensor in here")
    return lab.root


def test_steering(lab, files):
    lab.notebook(
        "steer", STEERING, 'ui = wb.ui.steering(model, {"refusal": lock}, alpha=1.5)\nui',
        "wb.generate(model, ['x'], max_new_tokens=1); model.hooks, model.folds",
    )  # fmt: skip
    page = lab.open("steer")
    lab.run(page)
    page.click("button:has-text('Generate')")
    first = steady(page, AFTER)
    # Tokens are shaded once the reply stands.
    expect(page.locator(f"{AFTER} .wb-tok").nth(5)).to_be_visible()
    # The slider, by keyboard: the model changes its mind.
    handle = page.locator(".wb-view .noUi-handle")
    handle.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    second = steady(page, AFTER, first)
    before = page.inner_text(f"{UI} .wb-text[data-column=before]")
    assert second not in (first, before)
    shot(lab, page, "steering")
    # A head, by mouse and by keyboard.
    cells = page.locator(".wb-headmap button:not(:disabled)")
    expect(cells).to_have_count(12)
    cells.nth(0).click()
    page.wait_for_selector(".wb-headmap [aria-selected=false]:not(:disabled)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".wb-headmap [aria-selected=true]")).to_have_count(10)
    page.click("button:has-text('Copy as code')")
    page.wait_for_selector(".wb-code:has-text('.pick([')")
    # Text streams, and stops: clicked in the page as soon as the third picture of it is there.
    page.evaluate(
        """after => {
          const lengths = new Set(), root = document.querySelector('.wb-view.widget-vbox');
          const stop = [...root.querySelectorAll('button')].find(b => b.innerText.includes('Stop'));
          new MutationObserver(() => {
            const text = document.querySelector(after);
            if (!text || window.stopped || stop.disabled) return;
            lengths.add(text.innerText.length);
            if (lengths.size > 2) { window.stopped = true; stop.click(); }
          }).observe(root, {subtree: true, childList: true});
        }""",
        AFTER,
    )
    page.locator(".wb-view .jupyter-widgets input[type=checkbox]").uncheck()
    # As strongly steered as this the model finds no end.
    handle.focus()
    page.keyboard.press("End")
    tokens = page.locator(".wb-view input[type=number]")
    tokens.fill("450")
    tokens.press("Enter")
    page.wait_for_function("window.stopped")
    page.wait_for_selector("button:has-text('Stop')[disabled]")
    assert 0 < len(steady(page, AFTER).split()) < 250
    # Files: two kinds, and a bad one whose error stands in place.
    for name in ("small.safelock", "bad.safetensors"):
        with page.expect_file_chooser() as chooser:
            page.click(f"{UI} button:has-text('direction file')")
        chooser.value.set_files(files / name)
        if name == "small.safelock":
            expect(cells).to_have_count(3)
    page.wait_for_selector("[role=alert]:has-text('bad.safetensors cannot be read')")
    shot(lab, page, "steering_bad_file")
    # Nothing of it is left in the model.
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_selector("text=([], [])")
    # The kernel restarts: the picture stays, and the UI comes back.
    page.evaluate("void window.jupyterapp.commands.execute('kernelmenu:restart')")
    page.click(".jp-Dialog .jp-mod-accept")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    lab.run(page)
    page.click("button:has-text('Generate')")
    assert steady(page, AFTER)
    page.close()


def test_without_a_kernel_the_picture_is_read(lab, files):
    lab.notebook(
        "still", STEERING,
        'ui = wb.ui.steering(model, {"refusal": lock}, alpha=2.0)\nui.run()\nui.wait()\nui',
    )  # fmt: skip
    page = lab.open("still")
    lab.run(page)
    said = steady(page, AFTER)
    expect(page.locator(".wb-static")).to_be_hidden()
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("window.jupyterapp.commands.execute('kernelmenu:shutdown')")
    page.wait_for_selector("text=No Kernel")
    page.reload()
    expect(page.locator(".wb-static")).to_be_visible()
    assert page.inner_text(".wb-static .wb-text[data-column=after]") == said
    page.screenshot(path=lab.shots / "static.png")
    page.close()


def test_safetylock(lab, files):
    lab.notebook("lock", STEERING, "ui = wb.ui.safetylock(model)\nui")
    page = lab.open("lock", height=2200)
    lab.run(page)
    page.wait_for_selector(f"{UI} >> text=their harmful texts are hidden")
    assert "curse" not in page.inner_text(".wb-view.widget-vbox")
    page.click("button:has-text('Discover')")
    page.wait_for_selector(f"{UI} >> text=12 heads in layers")
    cells = page.locator(".wb-headmap [aria-selected=true]")
    expect(cells).to_have_count(12)
    cells.nth(0).click()
    page.wait_for_selector(f"{UI} >> text=11 heads in layers")
    count = page.locator(".wb-view input[type=number]").last
    count.fill("10")
    count.press("Enter")
    page.click("button:has-text('Apply')")
    page.wait_for_selector("text=attacking a copy")
    page.click("button:has-text('Stop')")
    page.wait_for_selector("button:has-text('Stop')[disabled]")
    assert page.locator(f"{UI} td:has-text('random heads, 3 draws')").count() == 0
    page.click("button:has-text('Apply')")
    page.wait_for_selector(f"{UI} td:has-text('random heads, 3 draws')")
    page.wait_for_selector(f"{UI} th:has-text('attack success [95 % CI]')")
    shot(lab, page, "safetylock")
    page.close()


def test_pas(lab, files):
    lab.notebook("pas", STEERING, "ui = wb.ui.pas()\nui")
    page = lab.open("pas")
    lab.run(page)
    page.locator(".lm-TabBar-tab:has-text('person')").click()
    page.click("button:has-text('Align')")
    page.wait_for_selector(".wb-view .main-svg .polar")
    page.wait_for_selector(f"{UI} >> text=held-out answers")
    shot(lab, page, "pas")
    page.locator(".lm-TabBar-tab:has-text('items')").click()
    page.wait_for_selector(f"{UI} th:has-text('target')")
    page.locator(".lm-TabBar-tab:has-text('chat')").click()
    page.click("button:has-text('Ask')")
    assert steady(page, AFTER)
    page.close()


FEATURES = """\
%%capture
import torch
from pathlib import Path
torch.set_num_threads(1)
import workbench as wb
from workbench.papers.fpo import presets
from workbench.papers.fpo.train import conditions, load_policy, train
from workbench.sae.diff import diff_features
from workbench.sae.pooling import Constraint
from workbench.training.pairs import tokenised
settings = presets.settings("tiny", methods="fpo", alphas="0", held_out=40, steps=10)
inputs = presets.inputs("tiny", settings)
out = Path("features")
rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
train(inputs, settings, rows, conditions(settings)[0], 0, out / "policy", identity="demo")
policy = load_policy(out / "policy", inputs.reference)
diff = diff_features(policy, inputs.reference, rows, inputs.sae, inputs.hook, out / "diff",
                     Constraint(k=8))"""


def test_features(lab):
    lab.notebook(
        "features", FEATURES,
        "ui = wb.ui.features(diff, inputs.sae, rows, inputs.tokenizer, policy=policy,\n"
        "                    reference=inputs.reference)\nui",
    )  # fmt: skip
    page = lab.open("features", height=2600, dark=True)
    lab.run(page)
    rows = page.locator(".wb-table tr[tabindex]")
    expect(rows).to_have_count(20)
    page.click(".wb-table th button:has-text('auroc_policy')")
    page.wait_for_selector(".wb-table[data-sorted='auroc_policy true']")
    column = [float(x) for x in page.locator(".wb-table td:nth-child(5)").all_inner_texts()]
    assert column == sorted(column, reverse=True)
    feature = rows.nth(2).locator("td").first.inner_text()
    rows.nth(1).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{UI} h4:text-is('Feature {feature}')")
    page.wait_for_selector(f"{UI} .wb-tok")
    search = page.locator(".wb-view input[placeholder^='a feature']")
    search.fill("density_policy > 0.2")
    search.press("Enter")
    page.wait_for_function("document.querySelectorAll('.wb-table tr[tabindex]').length < 20")
    density = [float(x) for x in page.locator(".wb-table td:nth-child(2)").all_inner_texts()]
    assert density
    assert min(density) > 0.2
    shot(lab, page, "features")
    search.fill("nothing > 1")
    search.press("Enter")
    page.wait_for_selector("[role=alert]:has-text('no column')")
    page.fill(".wb-view textarea", "sea anchor sail : * please kindly")
    page.keyboard.press("Tab")
    page.click("button:has-text('Read')")
    page.wait_for_selector(f"{UI} >> text=strongest features")
    assert page.is_visible("[role=alert]:has-text('no column')")
    shot(lab, page, "features_probe")
    page.close()


def test_compiled(lab):
    lab.notebook("compiled", "import workbench as wb\nui = wb.ui.compiled()\nui")
    page = lab.open("compiled", height=2200)
    lab.run(page)
    page.wait_for_selector(f"{UI} .main-svg .heatmaplayer")
    expect(page.locator(f"{UI} th:text-is('sum')")).to_be_visible()
    # The slider, by keyboard: what is not yet written is not there.
    handle = page.locator(f"{UI} .noUi-handle")
    handle.focus()
    page.keyboard.press("Home")
    expect(page.locator(f"{UI} th:text-is('carry')")).to_have_count(0)
    page.keyboard.press("End")
    expect(page.locator(f"{UI} th:text-is('carry')")).to_be_visible()
    # One carry, flipped.
    choices = page.locator(f"{UI} select:visible")
    for place, choice in ((2, "kind"), (3, "7 ="), (4, "absorbs")):
        choices.nth(place).select_option(label=choice)
    page.click(f"{UI} button:has-text('Patch')")
    page.wait_for_selector(f"{UI} >> text=724")
    expect(page.locator(f"{UI} td:text-is('generates')").first).to_be_visible()
    shot(lab, page, "compiled")
    page.click(f"{UI} button:has-text('Undo')")
    text = page.locator(f"{UI} input[type=text]")
    text.fill("12x")
    text.press("Enter")
    page.wait_for_selector("[role=alert]:has-text(\"'x' at position 2\")")
    text.fill("99999+1")
    text.press("Enter")
    # The answer is written before the table, which is replaced as a whole.
    page.wait_for_selector(f"{UI} >> text=100000")
    expect(page.locator(f"{UI} th:text-is('9')")).to_have_count(5)
    # The names of the variables stay where the values move.
    page.locator(f"{UI} th:text-is('=')").scroll_into_view_if_needed()
    expect(page.locator(f"{UI} th:text-is('carry')")).to_be_in_viewport()
    choices.nth(1).select_option(label="bfloat16")
    expect(page.locator("[role=alert]")).to_have_count(0)
    for tab, shown in (("attention", "text:text-is('the reference')"),
                       ("program", "td:text-is('layer 2 heads')"),
                       ("margins", "td:text-is('bfloat16')")):  # fmt: skip
        page.locator(f".lm-TabBar-tab:has-text('{tab}')").click()
        page.wait_for_selector(f"{UI} {shown}:visible")
        shot(lab, page, f"compiled_{tab}")
    page.close()


EVIDENCE = """\
from types import SimpleNamespace
import workbench as wb
from workbench.retrievers.search import retrieved
from workbench.retrievers.train import Fit, trained
from workbench.worlds.pools import questions
train, test = questions("train", 48, pool=12), questions("test", 12, pool=12)
fits = {d: trained(train, Fit(epochs=1), d, 0) for d in ("forward", "backward")}
searched = {d: retrieved(network, test) for d, network in fits.items()}
study = SimpleNamespace(test=test, searched=searched, tuned={"bgr": ["w 0.5, τ 0.1"]})
facts = ["Ada mends the gate.", "Ada was born in Oon.", "The door is red."]
def read(question, facts):
    return [(-1, 0, 0.9), *([(0, 1, 0.8)] if len(facts) > 2 else [])]"""


def test_evidence(lab):
    lab.notebook("evidence", EVIDENCE, 'wb.ui.evidence(study, "Where was Ada born?", facts, read)')
    page = lab.open("evidence", dark=True)
    lab.run(page)
    edges = page.locator(f"{UI} .wb-graph polygon")
    nodes = page.locator(f"{UI} .wb-graph [data-node]")
    expect(nodes.first).to_be_visible()
    # The threshold, by keyboard: no edge is above 1, and the gold ones are missed.
    tau = page.locator(f"{UI} .noUi-handle").nth(2)
    tau.focus()
    page.keyboard.press("End")
    expect(page.locator(f"{UI} .wb-graph text:has-text('predicted, wrong (0)')")).to_be_visible()
    expect(page.locator(f"{UI} .wb-graph text:has-text('gold and predicted (0)')")).to_be_visible()
    assert page.locator(f"{UI} .wb-graph line[stroke-dasharray='9 5']").count() > 1
    tau.focus()
    page.keyboard.press("Home")
    expect(page.locator(f"{UI} .wb-graph text:has-text('gold, missed (0)')")).to_be_visible()
    # Hop by hop: before the first there is the question; a node is picked by mouse and by key.
    nodes.nth(1).click()
    page.wait_for_selector(f"{UI} h4:has-text('Fact')")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{UI} h4:has-text('gold answer')")
    shot(lab, page, "evidence")
    # A text of one's own, and without the fact that it hangs on.
    page.locator(".lm-TabBar-tab:has-text('own text')").click()
    page.click(f"{UI} button:has-text('Read')")
    expect(edges).to_have_count(2)
    page.locator(f"{UI} .noUi-handle").last.focus()
    page.keyboard.press("Home")
    expect(edges).to_have_count(0)
    page.keyboard.press("End")
    expect(edges).to_have_count(2)
    page.locator(f"{UI} [data-node='0']").click()
    page.wait_for_selector(f"{UI} h4:has-text('these words')")
    shot(lab, page, "evidence_own")
    page.click(f"{UI} button:has-text('Leave out')")
    expect(edges).to_have_count(1)
    expect(page.locator(f"{UI} td:text-is('left out')")).to_be_visible()
    page.close()


CHAIN = """\
import numpy as np
import workbench as wb
from workbench.retrieval.steps import Step
facts = ["Ada mends the gate.", "Ada was born in Oon.", "The door is red.", "Oon lies by the sea."]
def stepper(question, facts, read):
    odds = np.array([0.9, 0.6, 0.1, 0.3]) if not read else np.array([0.1, 0.8, 0.05, 0.7])
    odds[[*read]] = 0
    return Step(odds, 0.4 if len(read) < 2 else 0.9)"""


def test_chain_steps(lab):
    lab.notebook("chain", CHAIN, 'wb.ui.chain_steps("Where was Ada born?", facts, stepper)')
    page = lab.open("chain")
    lab.run(page)
    page.click(f"{UI} button:has-text('Read')")
    page.wait_for_selector(f"{UI} h4:text-is('0→1')")
    rows = page.locator(f"{UI} .wb-hops tr")
    expect(rows).to_have_count(5)
    # Another fact by mouse, the end by keyboard; the rest of the chain changes.
    page.click(f"{UI} [data-node='3']")
    page.wait_for_selector(f"{UI} h4:text-is('3→1')")
    shot(lab, page, "chain_steps")
    page.locator(f"{UI} .noUi-handle").last.focus()
    page.keyboard.press("ArrowRight")
    expect(rows).to_have_count(4)
    page.locator(f"{UI} [data-node='-1']").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{UI} h4:text-is('3')")
    page.click(f"{UI} button:has-text('Undo')")
    page.wait_for_selector(f"{UI} h4:text-is('3→1')")
    # Without a kernel every step is still there.
    page.wait_for_selector(".wb-static h4:text-is('3→1')", state="attached")
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("window.jupyterapp.commands.execute('kernelmenu:shutdown')")
    page.wait_for_selector("text=No Kernel")
    page.reload()
    expect(page.locator(".wb-static h4:text-is('3→1')")).to_be_visible()
    expect(page.locator(".wb-static table.wb-hops")).to_have_count(3)
    page.close()
