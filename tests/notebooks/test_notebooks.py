"""Every notebook: thin, clean, typed parameters; the quickstart and the demos run."""

import os

import nbformat
import papermill
import pytest

from workbench.errors import ModelError
from workbench.hub import place_of
from workbench.paths import notebook_folder
from workbench.runs.kernel import kernel
from workbench.runs.parameters import declared

NOTEBOOKS = sorted(notebook_folder().glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_clean_with_typed_parameters(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 40, "logic lives in the package"
    parameters = declared(path)
    assert {"preset", "model_id", "seed", "out_dir"} <= set(parameters)
    for name, info in parameters.items():
        assert info["inferred_type_name"] != "None", name
        assert info["help"], name


def test_two_kernels_of_one_folder_share_no_sockets():
    with kernel() as one, kernel() as two:
        assert one.ip != two.ip
        assert os.path.isabs(one.ip), "sockets would lie in the working directory"


@pytest.fixture(params=["tiny", "smollm2"])
def preset(request):
    """`"tiny"`, and `"auto"` where the real model is at hand."""
    if request.param == "tiny":
        return "tiny"
    try:
        place_of("smollm2", download=False)
    except ModelError as error:
        pytest.skip(str(error))
    return "auto"


def executed(name, folder, **parameters):
    with kernel() as manager:
        return papermill.execute_notebook(
            str(notebook_folder() / f"{name}.ipynb"),
            str(folder / "out.ipynb"),
            {"out_dir": str(folder), **parameters},
            km=manager,
            kernel_name="python3",
            progress_bar=False,
        )


def pages(book):
    """What a reader without a kernel sees of all outputs, and their types."""
    outputs = [o for c in book.cells for o in c.get("outputs", [])]
    data = [o.get("data", {}) for o in outputs]
    texts = [o.get("text", "") for o in outputs] + [d.get("text/html", "") for d in data]
    return " ".join(texts), {kind for d in data for kind in d}


def test_quickstart_runs(tmp_path, preset):
    text, _ = pages(executed("00_quickstart", tmp_path, preset=preset))
    names = {"refusal"} if preset == "tiny" else {"sentiment", "formality", "refusal"}
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == names
    assert ("smollm2, a real model, from " in text) == (preset != "tiny")


DEMOS = [
    (
        "demo_steering",
        {"preset": "tiny"},
        ("tiny along refusal", "12 heads in layers", "after, alpha"),
    ),
    ("demo_features", {}, ("density_policy", "Strongest contexts")),
]


@pytest.mark.parametrize(("name", "given", "shown"), DEMOS, ids=["steering", "features"])
def test_demos_run_and_leave_a_picture_of_each_ui(tmp_path, name, given, shown):
    text, kinds = pages(executed(name, tmp_path, **given))
    assert all(words in text for words in shown)
    assert "application/vnd.jupyter.widget-view+json" in kinds


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["smollm2"], indirect=True)
def test_the_steering_demo_on_the_real_model(tmp_path, preset):
    text, _ = pages(executed("demo_steering", tmp_path, preset=preset))
    assert "smollm2 along sentiment" in text
    assert "48 heads in" in text
