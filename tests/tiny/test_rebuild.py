"""`workbench data rebuild` at small sizes: the same files twice, whole or not at all."""

import json
from functools import partial

import pytest

import workbench as wb
from workbench.hashing import file_digest
from workbench.papers.registry import PAPERS
from workbench.tiny import chat_model, styles_model, sums_model, survey_model, symbols_model
from workbench.tiny.survey_texts import Mixture

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "kv_heads": 1, "mlp": 16}
STEPS = {"sums-early": 1, "sums": 2, "sums-late": 3}
STAGES = (survey_model.Stage(2, Mixture()), survey_model.Stage(1, Mixture()))
SMALL = {  # model: its module, sizes of its recipe, constants of the module, names that it writes
    "tiny": (
        chat_model,
        {"ChatRecipe": {**SIZES, "batch": 4, "helpful_steps": 2, "safety_steps": 1}},
        {"SAMPLES": {"train": 10, "validation": 1, "test": 2}},
        {"tiny", "requests.jsonl"},
    ),
    "survey": (
        survey_model,
        {"SurveyRecipe": {**SIZES, "texts": 4, "stages": STAGES}, "measure": {"count": 2}},
        {},
        {"survey", "survey_answers.csv"},
    ),
    "styles": (
        styles_model,
        {"StylesRecipe": {**SIZES, "layers": 2, "batch": 4, "steps": 3, "sae_steps": 5}},
        {"COUNTS": {"train": 4, "test": 2}, "SAE_TEXTS": 100, "LOSS_TEXTS": 50},
        {"styles", "style_pairs.jsonl"},
    ),
    "sums": (
        sums_model,
        {"SumsRecipe": {**SIZES, "batch": 4, "steps": 3}, "measure": {"count": 2}},
        {"STAGES": STEPS, "SAMPLES": {"families": 3, "ambiguous": 1}},
        {*STEPS, "sums.jsonl"},
    ),
    "symbols": (
        symbols_model,
        {
            "SymbolsRecipe": {**SIZES, "batch": 4, "steps": 2},
            "FlipsRecipe": {**SIZES, "batch": 4, "steps": 2},
            "measure": {"count": 1},
        },
        {"STEPS": {"flips-early": 1, "flips": 2}},
        {"symbols", "flips-early", "flips"},
    ),
}


@pytest.fixture(params=SMALL)
def small(request, monkeypatch):
    """(module, names that it writes, the registered function), all sizes small."""
    module, sizes, constants, names = SMALL[request.param]
    for name, size in sizes.items():
        monkeypatch.setattr(module, name, partial(getattr(module, name), **size))
    for name, value in constants.items():
        monkeypatch.setattr(module, name, value)
    (paper,) = (p for p in PAPERS if p.models[:1] == (request.param,))
    return module, names, paper.rebuilder()


def contents(folder):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_a_rebuild_writes_models_sample_and_card_the_same_twice(small, tmp_path):
    _, names, rebuild = small
    cards = [rebuild(tmp_path / folder, seed=3) for folder in ("first", "again")]
    first = tmp_path / "first"
    assert {p.name for p in first.iterdir()} == names
    assert contents(first) == contents(tmp_path / "again")
    models = [name for name in names if (first / name).is_dir()]
    for name in models:
        assert wb.load(first / name, device="cpu").n_layers in (1, 2)
    (main,) = (name for name in models if (first / name / "README.md").is_file())
    assert (first / main / "README.md").read_text() == cards[0] == cards[1]
    if main == "tiny":
        return
    stated = json.loads((first / main / "training.json").read_text())
    assert stated["recipe"]["seed"] == 3
    digests = stated["sha256"]
    if main == "survey":
        digests = {"survey": digests}
    for name, digest in digests.items():
        path = first / main / name if main == "styles" else first / name / "model.safetensors"
        assert file_digest(path) == digest


def test_an_interrupted_rebuild_leaves_what_was_there(small, tmp_path, monkeypatch):
    module, names, rebuild = small
    for name in names:
        path = tmp_path / name / "old" if "." not in name else tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    before = contents(tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure", stop)
    with pytest.raises(KeyboardInterrupt):
        rebuild(tmp_path)
    assert contents(tmp_path) == before
