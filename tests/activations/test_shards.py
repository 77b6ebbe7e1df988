"""Streaming to disk: killed and resumed, damaged, full, contended; and never more than a shard."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.helpers.families import CHATS, build
from tests.helpers.hostile import JSON
from workbench.errors import ShardError
from workbench.models.prompts import encode

NO = {"role": "assistant", "content": "No."}  # of fewer tokens than are read
PROMPTS = [[chat[0], NO] if i % 7 == 5 else chat[: 1 + i % 2] for i, chat in enumerate(CHATS * 4)]
SMALL = {"positions": wb.last(3), "shard_bytes": 20_000}


pytestmark = pytest.mark.usefixtures("watched")


@pytest.fixture(scope="module")
def llama(tokenizer):
    return build("llama", tokenizer)


@pytest.mark.parametrize("site", ["heads", "resid", "mlp"])
def test_streamed_equals_in_memory(llama, site, tmp_path):
    disk = wb.capture(llama, PROMPTS, site, out=tmp_path / "acts", **SMALL)
    memory = wb.capture(llama, PROMPTS, site, wb.last(3))
    assert len(disk.shards) > 3
    torch.testing.assert_close(disk.values, memory.values, equal_nan=True)
    assert len(disk.lengths.unique()) == 2
    disk.save(tmp_path / "copy")
    for other in (memory, wb.Activations.load(tmp_path / "copy")):
        assert torch.equal(disk.lengths, other.lengths)
    for part in (None, 1):
        ours, theirs = disk.rows(part), memory.rows(part)
        torch.testing.assert_close(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    assert wb.Activations.load(tmp_path / "acts").description() == memory.description()


def test_bfloat16_keeps_a_bfloat16_model_exactly(tokenizer, tmp_path):
    model = build("llama", tokenizer, dtype=torch.bfloat16)
    disk = wb.capture(model, CHATS, "resid", out=tmp_path / "a", dtype=torch.bfloat16)
    assert disk.values.dtype == torch.bfloat16
    assert torch.equal(disk.values.float(), wb.capture(model, CHATS, "resid").values)


def count_forwards(model):
    """A list that grows by one batch of token ids per forward."""
    seen = []
    hook = model.layer(0).register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    return seen, hook


def test_finished_shards_are_not_computed_again(llama, tmp_path):
    folder = tmp_path / "acts"
    first = wb.capture(llama, PROMPTS, out=folder, **SMALL)
    expected = first.values.clone()
    victim = folder / "shard-00001.safetensors"
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("shard-*")}
    victim.unlink()
    with pytest.raises(ShardError, match=r"unfinished: 1 of \d+ shards are missing"):
        wb.Activations.load(folder)
    seen, hook = count_forwards(llama)
    again = wb.capture(llama, PROMPTS, out=folder, **SMALL)
    hook.remove()
    assert sum(shape[0] for shape in seen) == len(again.shards[1])
    torch.testing.assert_close(again.values, expected, equal_nan=True)
    changed = [p.name for p in folder.glob("shard-*") if before[p.name] != p.stat().st_mtime_ns]
    assert changed == [victim.name]


@pytest.mark.parametrize("damage", ["bit", "cut", "swap"])
def test_a_damaged_shard_is_named_and_made_again(llama, tmp_path, damage):
    folder = tmp_path / "acts"
    expected = wb.capture(llama, PROMPTS, out=folder, **SMALL).values.clone()
    victim = folder / "shard-00002.safetensors"
    data = bytearray(victim.read_bytes())
    if damage == "bit":
        data[-100] ^= 1
    victim.write_bytes(data[:-50] if damage == "cut" else data)
    if damage == "swap":
        wb.capture(llama, PROMPTS[::-1], out=tmp_path / "other", **SMALL)
        victim.write_bytes((tmp_path / "other" / victim.name).read_bytes())
    with pytest.raises(ShardError, match=r"shard-00002.safetensors is damaged: .*Call capture"):
        wb.Activations.load(folder)
    again = wb.capture(llama, PROMPTS, out=folder, **SMALL)
    torch.testing.assert_close(again.values, expected, equal_nan=True)


def test_a_folder_of_something_else_is_left_alone(llama, tmp_path):
    folder = tmp_path / "acts"
    wb.capture(llama, PROMPTS, out=folder, **SMALL)
    for changes in (
        {"layers": [1]}, {"layers": [0, 2, 1]}, {"site": "mlp"}, {"positions": wb.last(2)},
        {"positions": wb.response()}, {"shard_bytes": 30_000},
    ):  # fmt: skip
        with pytest.raises(ShardError, match="holds activations of something else"):
            wb.capture(llama, PROMPTS, **{**SMALL, **changes, "out": folder})
    with pytest.raises(ShardError, match="something else"):
        wb.capture(llama, PROMPTS[1:], out=folder, **SMALL)
    wb.capture(llama, PROMPTS, out=tmp_path / "half", dtype=torch.float16, **SMALL)
    with pytest.raises(ShardError, match="something else"):  # of as many bytes
        wb.capture(llama, PROMPTS, out=tmp_path / "half", dtype=torch.bfloat16, **SMALL)
    replies = [CHATS[0], *([chat[0], NO] for chat in CHATS)]
    texts = [llama.tokenizer.decode(encode(llama, chat).ids) for chat in replies]
    assert [encode(llama, t).ids for t in texts] == [encode(llama, c).ids for c in replies]
    wb.capture(llama, replies, out=tmp_path / "replies", **SMALL)
    with pytest.raises(ShardError, match="something else"):  # whose last tokens are others
        wb.capture(llama, texts, out=tmp_path / "replies", **SMALL)
    llama.layer(2).mlp.up_proj.weight.data += 1e-3
    with pytest.raises(ShardError, match="something else"):
        wb.capture(llama, PROMPTS, out=folder, **SMALL)
    llama.layer(2).mlp.up_proj.weight.data -= 1e-3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ShardError, match=r"is not empty \(thesis.tex"):
        wb.capture(llama, PROMPTS, out=tmp_path / "mine", **SMALL)
    with pytest.raises(ShardError, match="holds no captured activations"):
        wb.Activations.load(tmp_path / "mine")
    (folder / "index.json").write_text("{")
    with pytest.raises(ShardError, match=r"index\.json:1: Expecting property"):
        wb.Activations.load(folder)
    (folder / "index.json").write_text(json.dumps([1]))
    with pytest.raises(ShardError, match="is no index"):
        wb.Activations.load(folder)


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_an_index_that_is_none(llama, tmp_path, content):
    wb.capture(llama, PROMPTS, out=tmp_path, **SMALL)
    path = tmp_path / "index.json"
    index = json.loads(path.read_text())
    missing = [
        {k: v for k, v in index.items() if k != name} for name in index.keys() - {"libraries"}
    ]
    ranges = [[], [[0, 1], [2, 3]], [[0]], [[0, "1"]], [5], 5, None, [[True, 3]]]
    changed = [json.dumps(i) for i in (*missing, *({**index, "ranges": r} for r in ranges))]
    for text in (content, *changed):
        path.write_text(text)
        with pytest.raises(ShardError, match=str(tmp_path)):
            wb.Activations.load(tmp_path)


def test_a_file_in_the_way_and_a_folder_that_cannot_be_made(llama, tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ShardError, match="cannot be written"):
            wb.capture(llama, PROMPTS, out=out, **SMALL)


def script(body, folder):
    """Python source that captures the embedded model's activations into a folder."""
    return textwrap.dedent(
        """
        import time
        import workbench as wb
        from workbench.models import forward_state
        model = wb.load("tiny", device="cpu")
        prompts = [f"How do I mend the gate? {'gate ' * (i % 40)}" for i in range(200)]
        """
    ) + textwrap.dedent(body).replace("FOLDER", repr(str(folder)))


CALL = "wb.capture(model, prompts, 'resid', wb.last(4), out=FOLDER, shard_bytes=100_000)"
TEXTS = [f"How do I mend the gate? {'gate ' * (i % 40)}" for i in range(200)]
OF_THE_CHILD = {"site": "resid", "positions": wb.last(4), "shard_bytes": 100_000}


def test_another_writer_is_refused_and_killed_it_is_resumed(tiny, tmp_path):
    """kill -9 while shards are being written; the second call finishes with equal values."""
    folder = tmp_path / "acts"
    slow = f"""
        forward_state._require_known = lambda *_: None  # the hook only waits
        model.layer(0).register_forward_hook(lambda *_: time.sleep(0.05))
        {CALL}
    """
    child = subprocess.Popen([sys.executable, "-c", script(slow, folder)])
    try:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("shard-*.safetensors"))) < 3:
            assert child.poll() is None, "finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(ShardError, match="another process is writing"):
            wb.capture(tiny, TEXTS, out=folder, **OF_THE_CHILD)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    finished = {p.name: p.stat().st_mtime_ns for p in folder.glob("shard-*.safetensors")}
    resumed = wb.capture(tiny, TEXTS, out=folder, **OF_THE_CHILD)
    assert len(finished) < len(resumed.shards)
    assert all((folder / name).stat().st_mtime_ns == at for name, at in finished.items())
    fresh = wb.capture(tiny, TEXTS, "resid", wb.last(4))
    torch.testing.assert_close(resumed.values, fresh.values, atol=2e-5, rtol=2e-5)
    assert not list(folder.glob("*.partial"))


def limit_files(size):
    """Cap the size of every file this process writes, in bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def test_a_disk_that_fills_in_mid_stream(llama, tmp_path):
    """Files are capped below a shard's size: the error says so, and what was whole is kept."""
    folder = tmp_path / "acts"
    unlimited, _ = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(*_):
        if len(list(folder.glob("shard-*.safetensors"))) == 2:
            limit_files(10_000)

    hook = llama.layer(0).register_forward_hook(fill)
    try:
        with pytest.raises(ShardError, match=r"shard 3 of .*make room and call again"):
            wb.capture(llama, PROMPTS, out=folder, **SMALL)
    finally:
        hook.remove()
        limit_files(unlimited)
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("shard-*")}
    assert sorted(kept) == ["shard-00000.safetensors", "shard-00001.safetensors"]
    acts = wb.capture(llama, PROMPTS, out=folder, **SMALL)
    assert all((folder / name).stat().st_mtime_ns == at for name, at in kept.items())
    memory = wb.capture(llama, PROMPTS, positions=wb.last(3))
    torch.testing.assert_close(acts.values, memory.values, equal_nan=True)


def test_too_small_a_disk_is_refused_before_any_forward(llama, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("workbench.activations.shards.shutil.disk_usage", lambda _: usage)
    seen, hook = count_forwards(llama)
    with pytest.raises(ShardError, match=r"needs .* GB more, but its disk has 0.00 GB free"):
        wb.capture(llama, PROMPTS, out=tmp_path / "a", **SMALL)
    hook.remove()
    assert not seen


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak memory")
def test_memory_stays_at_one_shard(tmp_path):
    """80 MB of activations grow a process by less than 50."""
    # Not getrusage: a child's ru_maxrss begins at its parent's.
    body = """
        def peak():
            status = open("/proc/self/status").read()
            return 1024 * int(status.split("VmHWM:")[1].split()[0])

        long = ["gate " * 400] * 100
        wb.capture(model, long[:2], "resid", wb.all_tokens(), out=FOLDER + "/a")
        before = peak()
        wb.capture(model, long, "resid", wb.all_tokens(), out=FOLDER + "/b", shard_bytes=4_000_000)
        print(peak() - before)
    """
    child = subprocess.run(
        [sys.executable, "-c", script(body, tmp_path)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    written = sum(p.stat().st_size for p in (tmp_path / "b").glob("shard-*"))
    assert written > 75e6
    assert 0 < int(child.stdout.split()[-1]) < 50e6
