"""Parts that plain ipywidgets lack: a clickable head map, code to copy."""

from collections.abc import Sequence
from pathlib import Path

import anywidget
import torch
import traitlets

from workbench.widgets.markup import head_grid

STATIC = Path(__file__).parent / "static"


class HeadMap(anywidget.AnyWidget):
    """Layers × heads, coloured by `values` `[L][H]` (None: no value), clickable where in `cells`.

    `active`: the (layer, head) switched in, in the order of `cells` until clicked. A residual
    direction has one column. `name`: what the values are.
    """

    _esm = STATIC / "headmap.js"
    _css = STATIC / "headmap.css"
    values = traitlets.List().tag(sync=True)
    layers = traitlets.List().tag(sync=True)
    cells = traitlets.List().tag(sync=True)
    active = traitlets.List().tag(sync=True)
    name = traitlets.Unicode("value").tag(sync=True)

    def show(
        self,
        values: torch.Tensor,
        cells: Sequence[Sequence[int]],
        active: Sequence[Sequence[int]] | None = None,
        name: str = "value",
    ) -> None:
        """Show float `[L, H]` (NaN: no value); all `cells` are active unless said otherwise."""
        plain = [[None if v != v else v for v in row] for row in values.tolist()]
        with self.hold_sync():
            self.values, self.layers, self.name = plain, list(range(len(plain))), name
            self.cells = [list(c) for c in cells]
            self.active = [list(c) for c in (cells if active is None else active)]

    def static(self) -> str:
        """The map as a picture."""
        return head_grid(self.values, self.active, self.name) if self.values else ""


class Code(anywidget.AnyWidget):
    """Lines of code with a copy button; nothing is shown while `text` is empty."""

    _esm = STATIC / "code.js"
    _css = STATIC / "code.css"
    text = traitlets.Unicode().tag(sync=True)
