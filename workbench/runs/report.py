"""The executed notebook as one self-contained HTML page: figures live, no network needed."""

import html
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor, TagRemovePreprocessor
from traitlets.config import Config

from workbench.writing import whole

_PLOTLY = "application/vnd.plotly.v1+json"


class _InlineFigures(Preprocessor):
    """Plotly's own HTML for each figure; the library itself is put in the page once."""

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        from plotly import graph_objects, io

        if cell.cell_type != "code":
            return cell, resources
        cell.outputs = [o for o in cell.outputs if not _is_progress(o)]
        for output in cell.outputs:
            data = output.get("data", {})
            if _PLOTLY in data:
                spec = data.pop(_PLOTLY)
                figure = graph_objects.Figure(spec["data"], spec.get("layout"), skip_invalid=True)
                data.clear()
                data["text/html"] = io.to_html(
                    figure, full_html=False, include_plotlyjs=False, config={"responsive": True}
                )
        return cell, resources


def _is_progress(output: Any) -> bool:
    """A finished progress bar: as text it ends by erasing itself, in a browser it is a widget."""
    if output.get("name") == "stderr":
        return not output["text"].rsplit("\r", 1)[-1].strip()
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def write_report(notebook: Path, target: Path) -> None:
    """Render `notebook`, finished or not, to `target`; tag `remove-input` hides a cell's code."""
    from plotly.offline import get_plotlyjs

    content = nbformat.read(notebook, as_version=4)
    config = Config()
    config.TagRemovePreprocessor.remove_input_tags = ("remove-input", "injected-parameters")
    config.TagRemovePreprocessor.enabled = True
    exporter = HTMLExporter(config=config, template_name="classic")
    exporter.register_preprocessor(TagRemovePreprocessor(config=config), enabled=True)
    exporter.register_preprocessor(_InlineFigures, enabled=True)
    body, _ = exporter.from_notebook_node(content)
    title = html.escape(notebook.parent.name)
    body = body.replace("<title>notebook</title>", f"<title>{title}</title>", 1).replace(
        "</head>", f"<script>{get_plotlyjs()}</script></head>", 1
    )
    with whole(target) as partial:
        partial.write_text(body, encoding="utf-8")
