"""Settings and inputs of a preset, and what is wrong with them."""

import json
import shutil

import pytest
import torch

import workbench as wb
from tests.helpers.families import CHATS, build
from workbench.errors import DatasetError, DirectionError, RunError
from workbench.papers.safetylock import presets
from workbench.paths import data_folder


def test_settings_and_bad_input(tmp_path, tiny, tokenizer):
    paper = presets.settings("paper", alpha=0, heads=0, r=0, selection="paper")
    assert (paper.heads_grid, paper.alphas, paper.r_grid, paper.pairs) == ((24,), (6.0,), (5,), 100)
    pinned = presets.settings("tiny", alpha=2, heads=3, r=4, selection="validation")
    assert (pinned.heads_grid, pinned.alphas, pinned.r_grid) == ((3,), (2.0,), (4,))
    for bad in (
        {"alpha": float("nan")}, {"alpha": -1.0}, {"heads": -1}, {"selection": "best"},
        {"draws": 0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"alpha=|heads=-1|selection='best'|draws=0"):
            presets.settings(
                "tiny", **{"alpha": 0, "heads": 0, "r": 0, "selection": "paper", **bad}
            )
    with pytest.raises(RunError, match="-p finetuned_id="):
        presets.inputs("paper", paper)
    other = build("llama", tokenizer)
    acts = wb.capture(other, CHATS, "heads", wb.last(3))
    lock = wb.HeadDirections.contrast(acts, [0, 1, 1] * 3, [(0, 1)])
    lock.save(tmp_path / "other.safetensors")
    with pytest.raises(DirectionError, match="n_layers: direction 3, model 4"):
        presets.read_lock(str(tmp_path / "other.safetensors"), tiny)
    acts = wb.capture(tiny, CHATS, "resid", wb.last(3))
    wb.ResidualDirection.contrast(acts, [0, 1, 1] * 3).save(tmp_path / "stream.safetensors")
    with pytest.raises(DirectionError, match="shifts the residual stream; a lock"):
        presets.read_lock(str(tmp_path / "stream.safetensors"), tiny)
    other.hf.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    with pytest.raises(RunError, match="is no descendant of"):
        presets.descendant(str(tmp_path / "m"), tiny)


def test_the_judge_is_of_the_model_and_its_requests(tiny):
    own = wb.load_data("requests", "test")[:4]
    speaks = presets.judge(tiny, own)
    assert speaks.broken("The weather is fine today.")
    assert presets.judge(tiny.clone("a fine-tune"), own).broken("The weather is fine today.")
    others = [{"prompt": row["prompt"], "harmful": row["harmful"]} for row in own]
    assert not presets.judge(tiny, others).broken("The weather is fine today.")
    assert presets.judge(wb.load("sums"), own).declines("I am unable to assist you")


def test_rows_of_ones_own_are_judged_by_the_general_judge_in_every_split(tmp_path):
    """The tiny model's grammar needs what the town's rows hold; those to choose on, too."""
    rows = [row for split in ("train", "test") for row in wb.load_data("requests", split)]
    own = [{"prompt": f"p{i}", "harmful": i % 2 == 0, "split": "validation"} for i in range(4)]
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, rows + own)), encoding="utf-8")
    settings = presets.settings("tiny")
    judges = presets.inputs("tiny", settings, requests_path=str(path)).judge
    assert not judges.helps(own[1], "the the the the the the the the the the the the")
    assert judges.helps(own[1], "The weather is fine today.")


@pytest.mark.parametrize(("harmful", "missing"), [(True, "harmless"), (False, "harmful")])
def test_requests_of_one_kind_are_refused_before_a_model_is_loaded(
    tmp_path, monkeypatch, harmful, missing
):
    monkeypatch.setattr(presets, "load", None)
    text = "".join(f'{{"prompt": "p{i}", "harmful": {str(harmful).lower()}}}\n' for i in range(3))
    (tmp_path / "requests.jsonl").write_text(text)
    settings = presets.settings("tiny", alpha=0, heads=0, r=0, selection="")
    with pytest.raises(DatasetError, match=f"hold no {missing} ones"):
        presets.inputs("tiny", settings, requests_path=str(tmp_path / "requests.jsonl"))


def test_a_model_without_a_template_is_asked_in_plain_prompts(tmp_path, caplog):
    folder = shutil.copytree(data_folder() / "tiny", tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    given = {"model_id": str(folder), "finetuned_id": str(folder)}
    inputs = presets.inputs("tiny", presets.settings("tiny"), **given)
    assert caplog.text.count("no chat template: it is asked in plain prompts") == 2
    assert wb.generate(inputs.base, [[{"role": "user", "content": "hello"}]], max_new_tokens=1)


def _file(folder, rows):
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / "rows.jsonl")


@pytest.mark.parametrize(
    ("parameter", "change", "message"),
    [
        ("pairs_path", lambda rows: [r for r in rows if r["harmful"]][:9], "9 .* at least 10"),
        ("requests_path", lambda rows: [r for r in rows if not r["harmful"]] + rows[:6],
         "harmful training requests; level 1 takes 10"),
        ("requests_path", lambda rows: [{**r, "rejected": None} for r in rows],
         "no 'rejected' answer"),
    ],
    ids=["few pairs", "few harmful", "none granting"],
)  # fmt: skip
def test_rows_that_a_late_stage_needs_are_asked_for_first(
    tmp_path, monkeypatch, parameter, change, message
):
    monkeypatch.setattr(presets, "load", None)
    held_out = [row for split in ("validation", "test") for row in wb.load_data("requests", split)]
    path = _file(tmp_path, [*change(wb.load_data("requests")), *held_out])
    with pytest.raises(DatasetError, match=f"{parameter}=.*{message}"):
        presets.inputs("tiny", presets.settings("tiny"), **{parameter: path})


def test_answers_that_begin_alike_are_told_before_anything_is_trained(tmp_path):
    pairs = wb.load_data("preference")[:12]
    alike = [{**p, "chosen": f"Sure. {p['chosen']}", "rejected": f"Sure. {p['rejected']}"}
             for p in pairs]  # fmt: skip
    with pytest.raises(DatasetError, match=r"pairs_path=.*begin them differently"):
        presets.inputs("tiny", presets.settings("tiny"), pairs_path=_file(tmp_path, alike))


def test_requests_that_serve_two_splits_are_named(tmp_path, caplog):
    rows = [r for h in (True, False) for r in wb.load_data("requests") if r["harmful"] == h]
    rows = [{k: v for k, v in r.items() if k != "split"} for r in [*rows[:40], *rows[-40:]]]
    presets.inputs("tiny", presets.settings("tiny"), requests_path=_file(tmp_path, rows))
    assert "of 80 test requests there are" in caplog.text
    assert "80 among those to train, 80 among those to choose" in caplog.text


def test_what_is_trained_here_is_in_full_precision(tmp_path):
    """In bfloat16 an update of 3e-5 is lost in a weight of 0.02: the attack would be none."""
    folder = str(tmp_path / "half")
    half = wb.load("tiny", dtype="bfloat16")
    half.hf.save_pretrained(folder)
    half.tokenizer.save_pretrained(folder)
    settings = presets.settings("tiny")
    assert presets.inputs("tiny", settings, model_id=folder).base.hf.dtype == torch.float32
    given = presets.inputs("tiny", settings, model_id=folder, finetuned_id=folder)
    assert given.base.hf.dtype == given.finetuned.hf.dtype == torch.bfloat16


def test_more_heads_than_there_are_is_told_with_the_way_out():
    settings = presets.settings("tiny", heads=33)
    with pytest.raises(ValueError, match=r"heads=33: the model has 32; give heads=… from 1 to 32"):
        presets.inputs("tiny", settings)
