"""A notebook run by hand, or by plain papermill, refuses in its first cells what a run does."""

import math
from importlib.metadata import PackageNotFoundError

import nbformat
import pytest

from workbench.errors import ModelError, WorkbenchError
from workbench.paths import notebook_folder

COMMON = [("preset", "papper"), ("preset", None), ("seed", -1), ("seed", 1.0), ("seed", True),
          ("seed", "0")]  # fmt: skip
PAPER = [*COMMON, ("seed", 2**32), ("seeds", 0), ("seeds", True), ("seeds", 2.0), ("seeds", "3"),
         ("model_id", "no such model")]  # fmt: skip
BAD = {
    "00_quickstart": [*COMMON, ("preset", "paper"), ("alpha", math.nan), ("alpha", -1.0)],
    "demo_steering": [*COMMON, ("preset", "paper"), ("alpha", math.inf), ("alpha", "1")],
    "demo_features": [*COMMON, ("steps", -2), ("steps", 1.5), ("sae", "nowhere")],
    "01_safetylock": [
        *PAPER, ("alpha", math.nan), ("alpha", -1.0), ("alpha", "2"), ("heads", -1), ("heads", 33),
        ("heads", 6.0), ("r", -5), ("selection", "best"), ("draws", 0), ("draws", None),
        ("alphas", "0"), ("alphas", "1,-2"), ("alphas", "1,1"), ("alphas", 2.0), ("pairs", 9),
        ("validated", 0), ("evaluated", 0), ("evaluated", "40"), ("max_new_tokens", 0),
        ("max_new_tokens", 513), ("max_new_tokens", 8.0), ("repeats", 0), ("repeats", True),
        ("lock_path", "no.safetensors"), ("pairs_path", "no.jsonl"), ("requests_path", "no.jsonl"),
        ("finetuned_id", "no such model"),
    ],
    "02_pas": [
        *PAPER, ("papi_path", "nowhere"), ("answers_path", "nowhere"), ("targets", "both"),
        ("keyed", "maybe"), ("subjects", -1), ("subjects", 129), ("direction", "lda"),
        ("heads", 0), ("heads", 2.5), ("alphas", "1,nan"), ("alphas", [1, 2]), ("folds", 6),
        ("folds", -3), ("dpo_subjects", -2), ("official", "yes"), ("items", -2), ("items", 37),
        ("items", 1.0), ("modes", "fewshot+pas"), ("modes", "pas,p3"), ("modes", "pas,pas"),
        ("modes", ["pas"]), ("controls", 2), ("controls", True), ("portrait_tokens", 0),
    ],
    "03_fpo": [
        *PAPER, ("sae", "nowhere"), ("hook", "foo"), ("hook", "blocks.9.hook_resid_post"),
        ("pairs_path", "no.jsonl"), ("methods", "fpo,,dpo"), ("methods", "dpo"),
        ("alphas", "1,1"), ("beta", 0.0), ("beta", math.nan), ("k", 257), ("k", 0),
        ("topk", "foo"), ("pool", "padded"), ("reference", "foo"), ("steps", -2),
        ("pairs", 10**6), ("held_out", 0), ("held_out", 10**6), ("learning_rate", 0.0),
        ("learning_rate", math.nan), ("batch", 0), ("batch", 2.0), ("max_length", 0),
        ("max_length", 129), ("warmup", -2), ("warmup", 30), ("lora", -2), ("lora", 65),
        ("costs", 2), ("costs", True), ("train_sae", "64,600"), ("train_sae", "64,600,x"),
        ("train_sae", "7,600,1"), ("train_sae", "64,511,1"), ("train_sae", "64,600,3"),
        ("train_sae", [64, 600, 1]),
    ],
    "05_graphhop": [
        *PAPER, ("size", "half"), ("methods", "bm25,bert"), ("methods", ["bm25"]), ("train", 0),
        ("dev", 2.0), ("test", True), ("pool", 9), ("decoys", -2), ("epochs", 0),
        ("data_path", "nowhere"), ("tables_path", "no.csv"),
    ],
    "06_reasonchainqa": [
        *PAPER, ("size", "half"), ("methods", "bm25,bert"), ("methods", ["bm25"]), ("types", "x"),
        ("depths", "0,1"), ("depths", 3), ("train", 0), ("dev", 2.0), ("test", True), ("pool", 9),
        ("held_out", 241), ("beam", 0), ("chain_weight", -0.5), ("decoys", -2), ("epochs", 0),
        ("data_path", "nowhere"), ("tables_path", "no.csv"), ("database", 99),
    ],
    "08_neural_comprehension": [
        *COMMON, ("seed", 2**32), ("model_id", "no such model"), ("tasks", "copy,sort"),
        ("tasks", ["copy"]), ("lengths", "0"), ("lengths", 4), ("lengths", "1,x"), ("rows", 0),
        ("rows", 2.0), ("shots", 9), ("shots", True), ("observed", 51), ("digits", "96"),
        ("stories", 0), ("flips", "1,1"), ("texts", 201), ("repeats", 0), ("max_new_tokens", 0),
        ("data_path", "no.jsonl"), ("addsub_path", "no.json"), ("t5_id", "x"), ("epochs", "3"),
        ("epochs", "0"),
    ],
    "09_self_verification": [
        *PAPER, ("served_model", "x"), ("dataset", "gsm9k"), ("data_path", "no.jsonl"),
        ("limit", -5), ("limit", 10**6), ("k", 0), ("k", 5.0), ("p", 0), ("p", -2), ("sc", True),
        ("t_forward", math.nan), ("t_backward", -0.5), ("verification", "rtv"),
        ("max_new_tokens", 0), ("shots", -2), ("chat", "yes"), ("official", 1),
    ],
}  # fmt: skip
CASES = [(notebook, name, value) for notebook, bad in BAD.items() for name, value in bad]


@pytest.mark.parametrize(("notebook", "name", "value"), CASES)
def test_what_is_wrong_is_refused_before_a_model_is_loaded(
    notebook, name, value, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workbench.hub.reachable", lambda: False)
    book = nbformat.read(notebook_folder() / f"{notebook}.ipynb", as_version=4)
    parameters, *cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    names = {"display": lambda *_: None}
    exec(parameters, names)
    assert name in names
    names |= {name: value, "out_dir": str(tmp_path)}
    first = "\n".join(cells[:3]).replace("%%capture", "")
    with pytest.raises((ValueError, WorkbenchError)) as caught:
        exec(first, names)
    assert name in str(caught.value)
    assert "model" not in names, "loaded before it was refused"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("notebook", [
    "01_safetylock", "02_pas", "03_fpo", "08_neural_comprehension", "09_self_verification",
])  # fmt: skip
def test_small_by_hand_without_a_model_names_the_ways_to_one(notebook, tmp_path, monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.delenv("WORKBENCH_SMOLLM2", raising=False)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("workbench.hub.reachable", lambda: False)
    monkeypatch.setattr("workbench.hub.distribution", absent)
    book = nbformat.read(notebook_folder() / f"{notebook}.ipynb", as_version=4)
    parameters, *cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    names = {"display": lambda *_: None}
    exec(parameters, names)
    names |= {"preset": "small", "out_dir": str(tmp_path / "out")}
    with pytest.raises(ModelError, match=r"WORKBENCH_SMOLLM2 .*HuggingFace.*`pip"):
        exec("\n".join(cells[:3]).replace("%%capture", ""), names)
    assert "model" not in names
    assert not (tmp_path / "out").exists()


REACHED = {
    "02_pas": {"modes": "pas,p2+pas", "controls": 0, "items": 4, "portrait_tokens": 7},
    "03_fpo": {"learning_rate": 1e-3, "batch": 24, "max_length": 50, "warmup": 3, "lora": 2,
               "costs": 0, "train_sae": "16,512,0"},
}  # fmt: skip


@pytest.mark.parametrize("notebook", sorted(REACHED))
def test_what_decides_cost_reaches_the_settings(notebook, tmp_path):
    book = nbformat.read(notebook_folder() / f"{notebook}.ipynb", as_version=4)
    parameters, *cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    names = {"display": lambda *_: None}
    exec(parameters, names)
    names |= {**REACHED[notebook], "out_dir": str(tmp_path), "subjects": 2}
    exec("\n".join(cells[:2]), names)
    for name, value in REACHED[notebook].items():
        reached = getattr(names["settings"], name)
        assert (",".join(map(str, reached)) if isinstance(value, str) else reached) == value
    if notebook == "02_pas":
        assert len(names["people"][0].inventory.items) == 4 * 2 * 5
    else:
        assert (names["inputs"].hook, names["inputs"].sae.cfg.d_sae) == (
            "blocks.0.hook_resid_post",
            16,
        )
        assert names["settings"].per_device == 8
