"""Every notebook: thin, clean, typed parameters; the quickstart and the demos run."""

import os

import nbformat
import papermill
import pytest

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


def executed(name, folder):
    with kernel() as manager:
        return papermill.execute_notebook(
            str(notebook_folder() / f"{name}.ipynb"),
            str(folder / "out.ipynb"),
            {"out_dir": str(folder)},
            km=manager,
            kernel_name="python3",
            progress_bar=False,
        )


def test_quickstart_runs(tmp_path):
    executed("00_quickstart", tmp_path)
    assert (tmp_path / "direction.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("demo_steering", ("tiny along refusal", "12 heads in layers", "after, alpha")),
     ("demo_features", ("density_policy", "Strongest contexts"))],
)  # fmt: skip
def test_demos_run_and_leave_a_picture_of_each_ui(tmp_path, name, shown):
    book = executed(name, tmp_path)
    data = [o.get("data", {}) for c in book.cells for o in c.get("outputs", [])]
    pages = " ".join(d["text/html"] for d in data if "text/html" in d)
    assert all(text in pages for text in shown)
    assert "application/vnd.jupyter.widget-view+json" in str(data)
