"""The steering UI shows what the package computes, and leaves nothing behind."""

import pickle
import re
import threading
import time

import pytest
import torch
from transformers import AutoModelForCausalLM

import workbench as wb
from tests.helpers.uploads import file
from workbench.generation import trials
from workbench.models.prompts import messages
from workbench.papers.safetylock.lock import contrast_activations, find_lock

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


def test_what_a_model_does_once_is_done_before_a_slider_moves(tiny, lock, tmp_path, monkeypatch):
    model, tried, real = tiny.clone("fresh"), [], trials._tried
    monkeypatch.setattr(trials, "_tried", lambda *given: tried.append(given[1]) or real(*given))
    ui = wb.ui.steering(model, lock, prompt=PROMPT, folder=tmp_path)
    ui._ipython_display_()
    ui.wait()
    assert sorted(tried) == ["cached", "whole"]
    assert ui.replies == ("", "")
    ui.alpha.value = 2.0
    ui.wait()
    assert all(ui.replies)
    assert len(tried) == 2
    ui.close()


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
