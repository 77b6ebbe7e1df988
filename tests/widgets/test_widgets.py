"""The UIs in process: what they show is what the package computes, and nothing is left behind."""

import functools
import pickle
import re
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

import workbench as wb
from tests.helpers.uploads import file
from workbench.errors import WorkbenchError
from workbench.models.prompts import messages
from workbench.papers.safetylock.lock import contrast_activations, find_lock
from workbench.paths import data_folder
from workbench.widgets.markup import pieces
from workbench.widgets.table import PAGE, Table, matching
from workbench.widgets.worker import Stopped, Worker, stoppable

PROMPT = "How do I mend the gate of Mara?"


@pytest.fixture(scope="module")
def lock(tiny):
    pairs = wb.load_data("preference")[:40]
    return find_lock(contrast_activations(tiny, pairs), 12)[0]


@pytest.fixture
def ui(tiny, lock, tmp_path):
    made = wb.ui.steering(tiny, {"refusal": lock}, prompt=PROMPT, folder=tmp_path)
    yield made
    made.wait()
    made.close()
    assert not tiny.hooks
    assert not tiny.folds


def shown(ui):
    """The two columns as a reader sees them."""
    found = re.findall(r'data-column="\w+">(.*?)</div></div>', ui.columns.value)
    return tuple(re.sub(r"<[^>]*>", "", inner).replace("&#x27;", "'") for inner in found)


# The worker


def test_the_latest_job_wins_and_busy_ends_once():
    ran, busy, errors = [], [], []
    worker = Worker(busy.append, errors.append)
    started = threading.Event()

    def long(stop):
        started.set()
        ran.append("long")
        stop.wait(30)

    worker.start(long)
    assert started.wait(10)
    for name in "abc":
        worker.start(lambda _, name=name: ran.append(name))
    worker.wait(10)
    worker.close()
    assert ran == ["long", "c"]
    assert busy[0] is True
    assert busy[-1] is False
    assert not errors


def test_an_error_is_reported_and_the_next_job_runs():
    ran, errors = [], []
    worker = Worker(lambda _: None, errors.append)

    def bad(_):
        raise KeyError("inner")

    def halted(_):
        raise Stopped

    worker.start(bad)
    worker.wait(10)
    worker.start(halted)
    worker.wait(10)
    worker.start(lambda _: ran.append(1))
    worker.wait(10)
    worker.close()
    worker.start(lambda _: ran.append(2))
    assert [type(e) for e in errors] == [KeyError]
    assert ran == [1]


def test_waiting_ends_after_the_error_has_been_shown():
    shown = []

    def slow(error):
        time.sleep(0.2)
        shown.append(error)

    worker = Worker(lambda _: None, slow)

    def bad(_):
        raise ValueError("late")

    worker.start(bad)
    worker.wait(10)
    assert [str(e) for e in shown] == ["late"]
    worker.start(lambda stop: stop.wait(30))
    with pytest.raises(TimeoutError):
        worker.wait(0.05)
    worker.close()
    worker.wait(10)


def test_stop_acts_at_the_next_forward_of_that_thread_only(tiny):
    stop, rows = threading.Event(), []
    plain = torch.tensor([[1, 2, 3]] * 4)
    with torch.no_grad(), stoppable(tiny, stop, rows.append):
        tiny.hf(input_ids=plain)
        stop.set()
        elsewhere = threading.Thread(target=lambda: tiny.hf(input_ids=plain))
        elsewhere.start()
        elsewhere.join()
        with pytest.raises(Stopped):
            tiny.hf(input_ids=plain)
        with pytest.raises(Stopped):
            wb.capture(tiny, [PROMPT])
        with pytest.raises(Stopped):
            wb.generate(tiny, [PROMPT])
    assert rows == [4]
    assert tiny.in_flight is None
    wb.generate(tiny, [PROMPT], max_new_tokens=2)


# Tokens


@settings(max_examples=100, deadline=None)
@given(
    st.text(min_size=1, max_size=30) | st.sampled_from(["naïve 🎉 x", "日本", " mend the gate."])
)
def test_pieces_are_the_text_one_for_each_token(text):
    tokenizer = embedded_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if ids:
        found = pieces(tokenizer, text)
        assert "".join(found) == text
        assert len(found) == len(ids)


@functools.cache
def embedded_tokenizer():
    return AutoTokenizer.from_pretrained(data_folder() / "tiny")


# Steering


@pytest.mark.parametrize("mode", ["all", "generated"])
def test_the_columns_are_what_generate_returns(tiny, lock, ui, mode):
    ui.mode.value, ui.tokens.value = mode, 24
    ui.alpha.value = 1.75
    ui.wait()
    chats = [messages(PROMPT)]
    ((before,),) = wb.generate(tiny, chats, max_new_tokens=24)
    with wb.steer(tiny, lock, 1.75, mode=mode):
        ((after,),) = wb.generate(tiny, chats, max_new_tokens=24)
    assert ui.replies == (before, after)
    assert before != after
    assert shown(ui) == (before, after)


def test_heads_switch_in_and_out(tiny, lock, ui):
    ui.alpha.value = 2.0
    ui.heads.active = [list(c) for c in lock.heads[:4]]
    ui.wait()
    with wb.steer(tiny, lock.pick([0, 1, 2, 3]), 2.0):
        assert ui.replies[1] == wb.generate(tiny, [messages(PROMPT)])[0][0]
    ui.heads.active = []
    ui.wait()
    assert ui.replies[0] == ui.replies[1]
    ui.as_code.click()
    assert "every head is switched out" in ui.message.value


def test_the_copied_code_reproduces_what_is_shown(tiny, lock, ui):
    ui.alpha.value, ui.mode.value = 1.5, "last"
    ui.heads.active = [list(c) for c in lock.heads[2:9]]
    ui.wait()
    ui.as_code.click()
    lines = ui.code.text.splitlines()
    assert len(lines) == 3
    lines[2] = lines[2].replace("wb.generate", "replies = wb.generate")
    names = {"wb": wb, "model": tiny}
    exec("\n".join(lines), names)
    assert names["replies"] == [[ui.replies[1]]]
    ui.alpha.value = 2.0
    assert not ui.code.text
    ui.wait()


def test_tokens_are_shaded_by_their_projection_around_the_unsteered_mean(tiny, lock, ui):
    from workbench.steering.token_scores import token_scores

    ui.alpha.value = 1.5
    ui.wait()
    titles = [float(x) for x in re.findall(r'title="([^"]+)"', ui.columns.value)]
    chats = [[*messages(PROMPT), {"role": "assistant", "content": reply}] for reply in ui.replies]
    plain = token_scores(tiny, lock, chats[:1])[0]
    with wb.steer(tiny, lock, 1.5):
        steered = token_scores(tiny, lock, chats[1:])[0]
    expected = torch.cat([plain, steered]) - plain.mean()
    torch.testing.assert_close(torch.tensor(titles), expected, atol=2e-2, rtol=2e-2)


def test_files_are_uploaded_checked_and_used(tiny, lock, ui, tmp_path):
    lock.pick([0, 1]).save(tmp_path / "two.safetensors")
    ui.upload.value = (file("two.safetensors", (tmp_path / "two.safetensors").read_bytes()),)
    ui.wait()
    assert ui.picker.value == "two.safetensors"
    assert len(ui.direction()) == 2
    lock.to_safelock(tmp_path / "l.safelock")
    ui.upload.value = (file("l.safelock", (tmp_path / "l.safelock").read_bytes()),)
    ui.wait()
    assert sorted(ui.direction().heads) == sorted(lock.heads)
    # Edited and uploaded again under the same name.
    lock.pick([4, 5, 6]).to_safelock(tmp_path / "l.safelock")
    ui.upload.value = (file("l.safelock", (tmp_path / "l.safelock").read_bytes()),)
    ui.wait()
    assert sorted(tuple(c) for c in ui.heads.cells) == sorted(lock.heads[4:7])
    before = ui.picker.value, ui.replies
    (tmp_path / "evil.safelock").write_bytes(pickle.dumps(print))
    ui.upload.value = (file("evil.safelock", (tmp_path / "evil.safelock").read_bytes()),)
    assert "evil.safelock" in ui.message.value
    assert "/" not in ui.message.value.split("evil.safelock")[0].partition(">")[2]
    ui.upload.value = (file("bad.safetensors", b"not a tensor in sight"),)
    assert "bad.safetensors cannot be read" in ui.message.value
    assert str(tmp_path) not in ui.message.value
    wide = wb.HeadDirections(
        torch.tensor([0]), torch.tensor([0]), torch.eye(1, 99), torch.tensor([1.0])
    )
    wide.save(tmp_path / "wide.safetensors")
    ui.upload.value = (file("wide.safetensors", (tmp_path / "wide.safetensors").read_bytes()),)
    assert "does not fit tiny: d_head: direction 99, model 16" in ui.message.value
    assert (ui.picker.value, ui.replies) == before


def test_fold_and_save_is_a_checkpoint_that_plain_transformers_loads(tiny, lock, ui, tmp_path):
    ui.alpha.value, ui.target.value = 1.5, "steered"
    ui.wait()
    before = tiny.fingerprint()
    ui.save.click()
    ui.wait()
    assert "reloaded by plain transformers" in ui.message.value
    assert tiny.fingerprint() == before
    plain = wb.load(AutoModelForCausalLM.from_pretrained(tmp_path / "steered"), tiny.tokenizer)
    assert wb.generate(plain, [messages(PROMPT)]) == [[ui.replies[1]]]
    ui.save.click()
    ui.wait()
    assert "exists; choose another name" in ui.message.value


def test_stop_error_and_close_leave_the_model_as_it_was(tiny, lock, tmp_path):
    before = tiny.fingerprint()
    # As strongly steered as this the model finds no end.
    ui = wb.ui.steering(tiny, lock, prompt=PROMPT, alpha=4.0, max_new_tokens=400)
    growing = threading.Event()
    ui.columns.observe(lambda _: growing.set(), "value")
    ui.chat.value = False
    assert growing.wait(30)
    ui.stop.click()
    ui.wait()
    assert ui.stop.disabled
    assert not tiny.hooks
    ui.prompt.value = ""
    ui.run()
    ui.wait()
    assert "empty string" in ui.message.value
    ui.prompt.value, ui.tokens.value = PROMPT, 4096
    ui.wait()
    assert "exceed the" in ui.message.value
    assert not tiny.hooks
    growing.clear()
    ui.tokens.value = 400
    assert growing.wait(30)
    ui.close()
    ui.wait()
    assert not tiny.hooks
    assert tiny.in_flight is None
    assert tiny.fingerprint() == before


def test_a_cell_sees_the_plain_model_while_a_reply_grows(tiny, lock):
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        plain = tiny.hf(input_ids=ids).logits
    ui = wb.ui.steering(tiny, lock, prompt=PROMPT, alpha=4.0, max_new_tokens=400)
    ui.chat.value = False
    seen = 0
    for _ in range(500):
        steered = bool(tiny.hooks)
        with torch.no_grad():
            assert torch.equal(tiny.hf(input_ids=ids).logits, plain)
        seen += steered and bool(tiny.hooks)
        if seen == 5:
            break
        time.sleep(0.005)
    assert seen == 5
    ui.close()
    ui.wait()


def test_negative_alpha_takes_the_research_switch(tiny, lock):
    plain = wb.ui.steering(tiny, lock)
    plain.alpha.value = -1
    assert plain.alpha.value == 0
    research = wb.ui.steering(tiny, lock, allow_negative=True, max_new_tokens=8)
    research.alpha.value = -1
    research.wait()
    with wb.steer(tiny, lock, -1.0, allow_negative=True):
        expected = wb.generate(tiny, [messages(research.prompt.value)], max_new_tokens=8)
    assert [[research.replies[1]]] == expected


# Features


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    some = pd.DataFrame(
        {"a": rng.normal(size=95), "b": rng.integers(0, 4, 95).astype(float), "note": "x"},
        index=pd.RangeIndex(95, name="feature"),
    )
    some.loc[3, "a"] = np.nan
    return some


def pages(table):
    rows = []
    for page in range(table.pages):
        table.page = page
        rows += [int(r[0]) for r in table.rows]
    return rows


@pytest.mark.parametrize("column", ["a", "b", "feature"])
@pytest.mark.parametrize("descending", [True, False])
def test_the_table_sorts_all_rows_and_pages_them(frame, column, descending):
    table = Table(frame, ["a", "b"], "b" if column == "a" else "a")
    table.page = 2
    table.sort, table.descending = column, descending
    assert table.page == 0
    keys = frame.reset_index()[column].tolist()
    order = sorted(
        range(95), key=lambda i: (keys[i] != keys[i], -keys[i] if descending else keys[i])
    )
    assert pages(table) == order
    assert len(table.rows) == 95 - 4 * PAGE


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from("<,>,<=,>=,==,!=".split(",")),
    st.integers(0, 4),
    st.floats(-2, 2),
    st.booleans(),
)
def test_filters_keep_what_a_loop_keeps(sign, whole, bound, both):
    import operator

    rng = np.random.default_rng(1)
    some = pd.DataFrame({"a": rng.normal(size=40), "b": rng.integers(0, 4, 40).astype(float)})
    compare = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
               "==": operator.eq, "!=": operator.ne}[sign]  # fmt: skip
    text = f"b {sign} {whole}" + (f" and a < {bound!r}" if both else "")
    expected = [
        i for i, row in some.iterrows()
        if compare(row["b"], whole) and (not both or row["a"] < bound)
    ]  # fmt: skip
    assert np.flatnonzero(matching(some, text)).tolist() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c > 1", "no column 'c'; there are a, b"),
        ("note == 1", "no column 'note'"),
        ("a > x", "'x' is no number"),
        ("a", "'a': write an index"),
        ("__import__('os')", "write an index"),
    ],
)
def test_a_bad_filter_says_so_and_keeps_the_rows(frame, text, said):
    with pytest.raises(WorkbenchError, match=re.escape(said)):
        matching(frame, text)
    table = Table(frame, ["a"], "a")
    rows = table.rows
    table.filter = text
    assert said in table.problem
    assert table.rows == rows
    table.filter = "7"
    assert [r[0] for r in table.rows] == ["7"]
    assert not table.problem


@pytest.fixture(scope="module")
def feature_ui(tmp_path_factory):
    import copy

    from workbench.papers.fpo import presets
    from workbench.sae.diff import diff_features
    from workbench.sae.pooling import Constraint
    from workbench.training.pairs import tokenised

    out = tmp_path_factory.mktemp("features")
    settings = presets.settings("tiny", methods="fpo", alphas="0", held_out=24)
    inputs = presets.inputs("tiny", settings)
    rows = tokenised(inputs.test, inputs.tokenizer, settings.max_length)
    policy = copy.deepcopy(inputs.reference)
    torch.manual_seed(0)
    for weight in policy.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    diff = diff_features(
        policy, inputs.reference, rows, inputs.sae, inputs.hook, out / "run", Constraint(k=8)
    )
    ui = wb.ui.features(
        diff, inputs.sae, rows, inputs.tokenizer, policy=policy, reference=inputs.reference,
        folder=out,
    )  # fmt: skip
    ui.wait()
    assert all(figure.outputs for figure in ui.overview)
    return ui


def test_the_probe_reads_what_the_hugging_face_forward_shows(feature_ui):
    ui, text = feature_ui, "sea anchor : * please kindly"
    ui.side.value, ui.table.selected, ui.probe.value = "reference", 5, text
    ui.read_text()
    ids = ui.tokenizer(text, return_tensors="pt")["input_ids"]
    hook = ui.diff.meta["hook"]
    layer = int(hook.split(".")[1])
    with torch.no_grad():
        out = ui.models["reference"](input_ids=ids, output_hidden_states=True)
        codes = ui.sae.encode(out.hidden_states[layer + 1][0].float())
    titles = [float(t) for t in re.findall(r'title="([^"]+)"', ui.probed.value)]
    torch.testing.assert_close(torch.tensor(titles), codes[:, 5], atol=1e-3, rtol=1e-2)
    strongest = int(codes.amax(0).argmax())
    assert re.search(rf"<tbody><tr><td>{strongest}</td>", ui.probed.value)


def test_a_row_opens_its_card_and_a_neighbour_the_next(feature_ui):
    ui = feature_ui
    active = int(ui.frame["density_policy"].idxmax())
    ui.table.selected = active
    assert f"Feature {active}" in ui.title.value
    assert "pair" in ui.card.value
    assert ui.histogram.outputs
    ui.near.children[1].click()
    assert ui.table.selected == ui.frame.loc[active, "nearest"][0]
    assert f"Feature {ui.table.selected}<" in ui.title.value


def test_a_card_that_is_drawn_late_does_not_overwrite_a_newer_one(feature_ui, monkeypatch):
    from workbench.widgets import features

    ui, begun, plain = feature_ui, threading.Event(), features.contexts
    old, new = (int(i) for i in ui.frame["density_policy"].nlargest(2).index)
    ui.table.selected = new
    expected = ui.card.value
    ui.table.selected = old

    def slow(run, feature, *rest):
        if feature == old:
            begun.set()
            time.sleep(0.3)
        return plain(run, feature, *rest)

    monkeypatch.setattr(features, "contexts", slow)
    thread = threading.Thread(target=ui._show_card)
    thread.start()
    assert begun.wait(10)
    ui.table.selected = new
    thread.join()
    assert f"Feature {new}<" in ui.title.value
    assert ui.card.value == expected


def test_a_filter_that_is_not_understood_says_so_until_it_is(feature_ui):
    ui = feature_ui
    ui.filter.value = "nothing > 1"
    assert 'role="alert">no column' in ui.misread.value
    ui.probe.value = "sea anchor"
    ui.read_text()
    assert "no column" in ui.misread.value
    ui.filter.value = ""
    assert not ui.misread.value


def test_concepts_are_exported_with_their_lens(feature_ui, tmp_path):
    import json

    ui = feature_ui
    ui.folder = tmp_path
    ui.export.click()
    assert "no concept is marked yet" in ui.message.value
    ui.mark.click()
    assert "name the concept first" in ui.message.value
    ui.concept.value = "polite"
    for feature in (7, 9, 7):
        ui.table.selected = feature
        ui.mark.click()
    ui.export.click()
    found = json.loads((tmp_path / "concepts.json").read_text())
    assert [x["feature"] for x in found["concepts"]["polite"]] == [7, 9]
    assert found["concepts"]["polite"][0]["up"] == ui.lens([7]).loc[7, "up"]
    assert found["hook"] == ui.diff.meta["hook"]
