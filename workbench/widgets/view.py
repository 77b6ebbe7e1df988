"""Base of every UI: parts, a worker, a line for messages, a static picture."""

import html
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import ipywidgets as widgets
from IPython.display import HTML, DisplayHandle, display

from workbench.errors import WorkbenchError
from workbench.widgets.worker import Job, Worker

if TYPE_CHECKING:
    import plotly.graph_objects as go

log = logging.getLogger(__name__)

EXPECTED = (WorkbenchError, ValueError, OSError, MemoryError, FloatingPointError)
"""Raised by bad input and shown as it is; anything else is a fault of ours, and logged as well."""

T = TypeVar("T")
WIDE = widgets.Layout(width="calc(100% - 8px)")
QUIET = 0.5
"""Seconds without a change after which the picture in the notebook is renewed."""

STYLE = """<style>
.wb-view {max-width: 1180px; color: var(--jp-ui-font-color1, #22303c)}
.wb-view .wb-note {color: var(--jp-ui-font-color2, #55606a); line-height: 1.35}
.wb-view .wb-error {border-left: 4px solid #b3260f; padding: 4px 10px; line-height: 1.4;
  white-space: pre-wrap}
.wb-view .wb-columns {display: grid; grid-template-columns: 1fr 1fr; gap: 12px}
.wb-view .wb-text {border: 1px solid var(--jp-border-color2, #c8ced4); border-radius: 4px;
  padding: 8px 10px; min-height: 96px; max-height: 260px; overflow-y: auto; line-height: 1.6;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 14px}
.wb-view .wb-text.wb-short {min-height: 0}
.wb-view .wb-tok {border-radius: 3px; padding: 1px 0}
.wb-view .wb-tok.wb-at {outline: 2px solid #2a62e0}
.wb-view table.wb-rows {border-collapse: collapse; font-size: 13px; line-height: 1.35}
.wb-view table.wb-rows td, .wb-view table.wb-rows th {padding: 3px 10px; text-align: left;
  border-bottom: 1px solid var(--jp-border-color2, #e6eaee); vertical-align: top}
.wb-view h4 {margin: 10px 0 2px; font-size: 14px}
.wb-view :focus-visible {outline: 2px solid #c77700; outline-offset: 1px}
.jp-OutputArea:has(.wb-view.widget-vbox) .wb-static {display: none}
</style>"""


def alert(message: str) -> str:
    """HTML of an error, read aloud by screen readers."""
    return f'<div class="wb-error" role="alert">{html.escape(message)}</div>'


class View(widgets.VBox):
    """A UI: subclasses `show` their parts, define `static()`, and `work` in the background."""

    def __init__(self, folder: str | Path = ".") -> None:
        self.folder = Path(folder)
        self.message = widgets.HTML()
        self.stop = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.stop.on_click(lambda _: self._worker.stop())
        self._worker = Worker(self._busy, self._failed)
        self._handle: DisplayHandle | None = None
        self._renewal = threading.Timer(0, self._renew)
        super().__init__()
        self.add_class("wb-view")

    def show(self, *parts: widgets.Widget) -> None:
        """Lay out the parts from top to bottom, `message` and `stop` among them."""
        self.children = [widgets.HTML(STYLE), *parts]

    def static(self) -> str:
        """HTML of the present state, readable without a kernel."""
        raise NotImplementedError

    def work(self, job: Job) -> None:
        """Run a job in the background; the latest one wins."""
        self.message.value = ""
        self._worker.start(job)

    def wait(self, timeout: float | None = 60) -> None:
        """Wait until work and picture are done, for scripts and tests. Raises `TimeoutError`."""
        self._worker.wait(timeout)
        if self._renewal.is_alive():
            self._renewal.cancel()
            self._renew()

    def say(self, text: str) -> None:
        """Show a remark in the place of errors."""
        self.message.value = f'<div class="wb-note" role="status">{html.escape(text)}</div>'

    def show_error(self, error: BaseException) -> None:
        """Show an error in the UI, in place of a traceback nobody sees."""
        self.message.value = alert(str(error) or type(error).__name__)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """A block in which bad input is shown in the UI instead of raised."""
        try:
            yield
        except EXPECTED as error:
            self.show_error(error)

    def uploaded(self, upload: widgets.FileUpload, read: Callable[[Path], T]) -> tuple[str, T]:
        """(name, content) of the file just uploaded, as `read` reads it.

        Errors name that file, not the temporary place where it lies meanwhile.
        """
        file = upload.value[-1]
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / Path(file["name"]).name
            path.write_bytes(bytes(file["content"]))
            try:
                return path.name, read(path)
            except WorkbenchError as error:
                raise type(error)(str(error).replace(str(path), path.name)) from error

    def place(self, name: str) -> Path:
        """The path of a new file or folder of the UI. Raises `FileExistsError`."""
        path = self.folder / name
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self) -> None:
        """Renew the static picture that stays in the notebook, once nothing changes any more."""
        if self._handle is not None:
            self._renewal.cancel()
            self._renewal = threading.Timer(QUIET, self._renew)
            self._renewal.daemon = True
            self._renewal.start()

    def close(self) -> None:
        """Stop the work and remove the UI and its parts."""
        self._worker.close()
        self._renewal.cancel()
        _close(self.children)
        super().close()

    def _ipython_display_(self, **_: Any) -> None:
        # Hidden by our style as long as the widget itself is drawn.
        self._handle = display(HTML(self._picture()), display_id=True)
        display(self._repr_mimebundle_(), raw=True)

    def _renew(self) -> None:
        self._handle.update(HTML(self._picture()))

    def _picture(self) -> str:
        return f'{STYLE}<div class="wb-static wb-view">{self.static()}</div>'

    def _busy(self, busy: bool) -> None:
        self.stop.disabled = not busy

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, EXPECTED):
            log.error("a widget's work failed", exc_info=error)
        self.show_error(error)


def _close(parts: Iterable[widgets.Widget]) -> None:
    for part in parts:
        _close(getattr(part, "children", ()))
        part.close()


def later(callback: Callable[[], None]) -> Callable[[Any], None]:
    """An observer that calls `callback` and ignores the change."""
    return lambda _: callback()


class Figure(widgets.Output):
    """A Plotly figure in a UI, drawn by the notebook's own renderer; `draw` replaces it."""

    def draw(self, figure: "go.Figure") -> None:
        """Show a figure; from any thread."""
        content = json.loads(figure.to_json())
        self.outputs = (
            {
                "output_type": "display_data",
                "data": {"application/vnd.plotly.v1+json": content, "text/plain": ""},
                "metadata": {},
            },
        )

    def clear(self) -> None:
        """Show nothing."""
        self.outputs = ()


class Progress(widgets.HBox):
    """A bar with what is being done; hidden at rest."""

    def __init__(self) -> None:
        self.bar = widgets.FloatProgress(min=0, max=1)
        self.text = widgets.Label()
        super().__init__([self.bar, self.text])
        self.layout.visibility = "hidden"

    def show(self, done: float, text: str) -> None:
        """Show the share `done`, from 0 to 1, and what is being done."""
        self.bar.value, self.text.value = done, text
        self.layout.visibility = "visible"

    def counting(self, total: int, text: str) -> Callable[[int], None]:
        """A function that is told of each batch's rows, and shows how many of `total` are done.

        A `{}` in the text is their number.
        """
        done = 0

        def ran(rows: int) -> None:
            nonlocal done
            done = min(done + rows, total)
            self.show(done / total, text.format(done))

        return ran

    def hide(self) -> None:
        """Hide the bar at rest."""
        self.layout.visibility = "hidden"
