"""Acting: which tokens of the forward that runs are steered, and whether every hook ran in it."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch

from workbench.errors import SteeringError
from workbench.models.anatomy import first
from workbench.models.model import InFlight, Model
from workbench.steering.prompt_ends import SAY, arguments, prompt_ends
from workbench.steering.shifts import Direction, steered_modules

log = logging.getLogger(__name__)


class _Now(threading.local):
    """The forward that runs in this thread.

    `outer`: the module whose call it is; None between forwards. `shape`: (rows, tokens). `steered`:
    bool `[row, token]`; None where all are. `prompt`: int64 `[row]`, each row's place in a list of
    `total` prompts. `ran`: how often each hook ran. `past`: tokens in its `cache`. `span`: the
    least and the last column from which rows are steered.
    """

    outer: torch.nn.Module | None = None
    shape = (0, 0)
    steered: torch.Tensor | None = None
    prompt: torch.Tensor | None = None
    total = 0
    ran: list[int] = []  # noqa: RUF012 - replaced, never changed, before the first forward
    past = 0
    span = (0, 0)
    cache: Any = None


class Acting:
    """What the hooks of one `steer` block ask: which rows and tokens, and in whose thread.

    `thread` as in `SteeringHook`; `start`: int64 `[]` or `[row]`, as the caller said it, or None.
    """

    def __init__(
        self, model: Model, mode: str, start: torch.Tensor | None, thread: int | None
    ) -> None:
        self.model, self.mode, self.start, self.thread = model, mode, start, thread
        self.hooked: list[torch.nn.Module] = []
        self.now = _Now()
        self.forwards = self.of_others = 0
        self.closed = False

    @property
    def elsewhere(self) -> bool:
        """Whether another thread than the one that steers is running the model."""
        return self.thread is not None and self.thread != threading.get_ident()

    def begin(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read a forward's shape, mask and cache before its layers run: a forward pre-hook.

        Of a call within a call the outer one counts. Raises `SteeringError` where it is not known
        which tokens are to be steered.
        """
        if self.elsewhere:
            self.of_others += threading.current_thread() is not threading.main_thread()
            return
        now = self.now
        if now.outer not in (None, module):
            return
        if self.thread is not None and self._checkpoints():
            raise SteeringError(
                "gradient checkpointing runs layers again in other threads, which the hooks of a "
                "background thread do not steer; steer from the main thread, or switch it off"
            )
        now.outer = module
        now.ran = [0] * len(self.hooked)
        given = kwargs if not args else arguments(module, args, kwargs)
        tokens = given.get("input_ids")
        tokens = given.get("inputs_embeds") if tokens is None else tokens
        if tokens is None:
            raise SteeringError(f"a {type(module).__name__} was called without input_ids")
        now.shape = (rows, width) = tuple(tokens.shape[:2])
        now.cache = given.get("past_key_values")
        now.past = int(now.cache.get_seq_length()) if now.cache is not None else 0
        batch = self.model.in_flight
        now.prompt, now.total = _prompts(batch, rows)
        now.steered, now.span = None, (0, 0)
        if self.mode != "all":
            start = self._starts(batch, given, now) - int(self.mode == "last")
            now.span = int(start.min()), int(start.max())
            steered = now.past + torch.arange(width) >= start[:, None]
            now.steered = None if steered.all() else steered
        if now.past:
            self._check_cache(now)

    def _check_cache(self, now: _Now) -> None:
        """Raise `SteeringError` where what is cached was not steered as the mode asks of it."""
        past, labels = now.past, tuple(self.model.hooked)
        unsteered = (labels, past, (past, past))
        made_by, length, made = getattr(now.cache, "steered_by", unsteered)
        first_made, last_made = (min(column, past) for column in made)
        first_asked, last_asked = (min(column, past) for column in now.span)
        same = first_made <= first_asked and last_asked <= last_made
        if first_made < past:
            same = same and made_by == labels and past <= length
        if not same:
            raise SteeringError(
                f"the cache's {past} tokens were not steered as mode={self.mode!r} asks: they were "
                "computed outside the block, under another steering, or as a reply that is now "
                "part of the prompt. Compute them anew, or say start=… if they are as you want them"
            )

    def end(self, module: torch.nn.Module, _: Any, output: Any) -> None:
        """Check that every hook ran once: a forward hook that is always called.

        Raises `SteeringError` where one did not, or ran again.
        """
        now = self.now
        if self.elsewhere or now.outer is not module:
            return
        now.outer, cache, now.cache = None, now.cache, None
        if output is None:  # An error, or the end of a trace, is on its way out.
            return
        self.forwards += 1
        if self._checkpoints():
            for tensor in output.values() if hasattr(output, "values") else output:
                if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                    tensor.register_hook(self._check_open)
        for hooked, times in zip(self.hooked, now.ran, strict=True):
            if times != 1:
                raise SteeringError(
                    f"{self.model.name}: the hook of {self._name(hooked)} ran {times} times in a "
                    "forward, not once: the layer was skipped, replaced, repeated or its code was "
                    "called past its hooks. Nothing of this forward is steered as asked; steer a "
                    "model that runs each layer once, or fold() the direction"
                )
        cache = getattr(output, "past_key_values", None) if cache is None else cache
        if cache is not None:
            # On the cache itself, so that its copies carry it.
            cache.steered_by = (tuple(self.model.hooked), now.past + now.shape[1], now.span)

    def check_all(self, directions: Iterable[Direction]) -> None:
        """Check, once the block has run, that what it hooked is what ran.

        Raises `SteeringError` where a module was replaced or wrapped inside the block, or another
        thread alone ran the model.
        """
        for direction in directions:
            for module in steered_modules(self.model, direction):
                if module not in self.hooked:
                    raise SteeringError(
                        f"{self.model.name}: layers were replaced or wrapped while they were "
                        "steered, so that the shift is not that of the model that ran; change the "
                        "model first, then steer it"
                    )
        if self.thread is not None and self.of_others and not self.forwards:
            raise SteeringError(
                "a background thread steers itself alone, but other threads ran the model; run it "
                "in the thread of the block, or steer from the main thread"
            )
        if not self.forwards:
            log.warning("%s: no forward ran while it was steered by hooks", self.model.name)

    def adding(self, module: torch.nn.Module, vector: torch.Tensor, alpha: Any) -> Callable:
        """A forward hook that adds alpha (one for all, or float32 `[prompt]`) times `vector`."""
        place = len(self.hooked)
        self.hooked.append(module)
        alphas = alpha if isinstance(alpha, torch.Tensor) else None
        vector = vector if alphas is not None else alpha * vector
        copies: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

        def add(_: torch.nn.Module, __: Any, output: Any) -> Any:
            if self.elsewhere:
                return output
            hidden = first(output)
            kind = (hidden.device, hidden.dtype)
            shift = copies.get(kind)
            if shift is None:
                shift = copies[kind] = vector.to(*kind)
            if self.now.outer is not None:
                self.now.ran[place] += 1
            factor = self._factor(alphas, hidden)
            shifted = hidden + (shift if factor is None else factor * shift)
            return (shifted, *output[1:]) if isinstance(output, tuple) else shifted

        return add

    def _factor(self, alphas: torch.Tensor | None, hidden: torch.Tensor) -> torch.Tensor | None:
        """What each token's shift is multiplied with: `[row, token, 1]`, flat if `hidden` is.

        `alphas`: float32 `[prompt]`, or None where the shift holds it. Raises `ValueError` where
        there are more or fewer alphas than prompts.
        """
        now = self.now
        if now.outer is None:
            # A layer run by itself, or again for its gradient, is steered if all are alike.
            if self.mode == "all" and alphas is None:
                return None
            raise SteeringError(
                "a layer ran outside a forward of the whole model (a direct call, or gradient "
                "checkpointing's second pass), where it is not known which tokens it was given; "
                "steer with mode='all' and one alpha, or switch gradient checkpointing off"
            )
        rows, width = now.shape
        if hidden.shape[:-1] not in ((rows, width), (rows * width,)):
            raise SteeringError(
                f"a hooked layer got {list(hidden.shape[:-1])} tokens of a forward of {rows} rows "
                f"of {width}: it sees a part of them, and which is not known; fold() the direction"
            )
        factor = now.steered
        if alphas is not None:
            if len(alphas) != now.total:
                noun = "rows in the batch" if self.model.in_flight is None else "prompts"
                raise ValueError(f"{len(alphas)} alphas, one for each, but {now.total} {noun}")
            alphas = alphas[now.prompt][:, None].expand(rows, width)
            factor = alphas if factor is None else alphas * factor
        if factor is None:
            return None
        # OPT's last projection sees all tokens of a batch as one list.
        factor = factor[..., None] if hidden.dim() == 3 else factor.reshape(-1, 1)
        return factor.to(hidden.device, hidden.dtype)

    def _starts(self, batch: InFlight | None, given: dict[str, Any], now: _Now) -> torch.Tensor:
        """Int64 `[row]`, the column of each row's first generated token."""
        rows, width = now.shape
        if batch is not None and batch.start is not None:
            return _spread(batch.start, rows)
        if self.start is not None:
            return self.start.expand(rows)
        if now.past == 0:
            return prompt_ends(given, rows, width)
        raise SteeringError(
            f"mode={self.mode!r} and a cache of {now.past} tokens: whether this forward goes on "
            f"with the prompt or with what is generated is not known. {SAY} (hf.generate, "
            "wb.generate and wb.capture know it)"
        )

    def _checkpoints(self) -> bool:
        """Whether layers of this forward run again when its gradient is computed."""
        hf = self.model.hf
        return hf.training and torch.is_grad_enabled() and hf.is_activation_checkpointing

    def _check_open(self, _: torch.Tensor) -> None:
        if self.closed:
            raise SteeringError(
                "gradient checkpointing runs the layers again, but the steering has ended; call "
                "backward() inside the block, or switch gradient checkpointing off"
            )

    def _name(self, module: torch.nn.Module) -> str:
        return next((n for n, m in self.model.hf.named_modules() if m is module), "a former layer")


def _prompts(batch: InFlight | None, rows: int) -> tuple[torch.Tensor, int]:
    """Each row's place in the list of prompts, and how many there are."""
    if batch is None:
        return torch.arange(rows), rows
    return _spread(batch.prompt, rows), batch.total


def _spread(of_prompt: torch.Tensor, rows: int) -> torch.Tensor:
    """One entry per row where each prompt has several neighbouring rows: beams, samples."""
    times, rest = divmod(rows, len(of_prompt))
    if rest or not times:
        raise SteeringError(f"{rows} rows for {len(of_prompt)} prompts: it is not known whose")
    return of_prompt if times == 1 else of_prompt.repeat_interleave(times)
