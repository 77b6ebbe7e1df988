"""Before | after: two replies that grow side by side in one batch, with an alpha for each row."""

import html
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing

import ipywidgets as widgets
import torch

from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.model import Model
from workbench.models.prompts import Prompt, encode_all
from workbench.steering.shifts import Direction
from workbench.steering.steer import steer
from workbench.steering.token_scores import token_scores
from workbench.widgets import markup
from workbench.widgets.worker import Stopped, stoppable

FRAME = 0.08
"""Seconds between two drawings of a growing reply: faster is not seen, and costs time."""
SETTLED = 0.15
"""Seconds that a finished reply must stand before its tokens are coloured."""


class SideBySide(widgets.HTML):
    """The two replies as HTML; `replies` holds their texts, `whole` is set when they are whole."""

    def __init__(self) -> None:
        self.replies = ("", "")
        self.whole = threading.Event()
        super().__init__()

    def run(
        self,
        model: Model,
        direction: Direction | None,
        alpha: float,
        prompt: Prompt,
        stop: threading.Event,
        *,
        mode: str = "all",
        max_new_tokens: int = 64,
        allow_negative: bool = False,
    ) -> None:
        """Generate both replies greedily, drawn as they grow; then shade tokens (`token_scores`).

        Raises `Stopped` where `stop` was set; what has been written stays. The model is steered in
        this thread only, and only until then.
        """
        requests = [GenRequest(prompt, max_new_tokens=max_new_tokens)] * 2
        heads = ("before", f"after · alpha {alpha:g}")
        self.whole.clear()
        alphas = [0.0, alpha]
        options = {"mode": mode, "how": "hook", "allow_negative": allow_negative}
        with ExitStack() as inside:
            inside.enter_context(stoppable(model, stop))
            if direction is not None:
                inside.enter_context(steer(model, direction, alphas, **options))
            stream = inside.enter_context(closing(LocalBackend(model).stream(requests)))
            drawn = 0.0
            for decoder in stream:
                if stop.is_set():
                    raise Stopped
                if time.monotonic() - drawn >= FRAME:
                    self._plain(heads, [s.text for s in decoder.samples()])
                    drawn = time.monotonic()
            texts = [s.text for s in decoder.samples()]
            self._plain(heads, texts)
        self.whole.set()
        if direction is None or isinstance(prompt, str):
            return
        # One more forward; not while a slider is still moving.
        if stop.wait(SETTLED):
            raise Stopped
        chats = [[*prompt, {"role": "assistant", "content": t}] for t in texts]
        encoded = encode_all(model, chats)
        if any(e.start == len(e.ids) for e in encoded):
            return  # nothing to colour
        words = [
            markup.pieces(model.tokenizer, t, e.ids[e.start :])
            for t, e in zip(texts, encoded, strict=True)
        ]
        with stoppable(model, stop), steer(model, direction, alphas, **options):
            self._shaded(token_scores(model, direction, chats), words, heads)

    def _plain(self, heads: tuple[str, str], texts: Sequence[str]) -> None:
        self.replies = (texts[0], texts[1])
        self.value = markup.columns(*zip(heads, map(html.escape, texts), strict=True))

    def _shaded(
        self, scores: list[torch.Tensor], words: list[list[str]], heads: tuple[str, str]
    ) -> None:
        # Around the unsteered reply, so that what steering changes is what is coloured.
        centre = float(scores[0].mean())
        limit = max(float(max((s - centre).abs().max() for s in scores)), 1e-6)
        columns = []
        for head, pieces, row in zip(heads, words, scores, strict=True):
            columns.append((head, markup.shaded(pieces, (row - centre).tolist(), limit)))
        self.value = markup.columns(*columns) + (
            '<div class="wb-note">Colour: projection of each token on the direction, in σ, above '
            f"(orange) or below (blue) the unsteered reply's mean; full colour at ±{limit:.2g}."
            "</div>"
        )
