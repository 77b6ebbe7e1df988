"""Acting: which tokens of the forward that runs are steered, and whether every hook ran in it."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from workbench.errors import SteeringError
from workbench.models.anatomy import first
from workbench.models.model import InFlight, Model
from workbench.steering.fold import Fold
from workbench.steering.prompt_ends import SAY, arguments, prompt_ends, prompts, spread
from workbench.steering.shifts import Direction, steered_modules
from workbench.steering.unchanged import Unchanged

log = logging.getLogger(__name__)


class _Now(threading.local):
    """The forward that runs in this thread.

    `outer`: the module whose call it is; None between forwards. `shape`: (rows, tokens). `steered`:
    bool `[row, token]`; None where all are. `prompt`: int64 `[row]`, each row's place in a list of
    `total` prompts. `ran`: how often each hook ran. `past`: tokens in its `cache`. `span`: the
    least and the last column from which rows are steered. `labels`: of all that steers.
    """

    outer: torch.nn.Module | None = None
    shape = (0, 0)
    steered: torch.Tensor | None = None
    prompt: torch.Tensor | None = None
    total = 0
    ran: list[int] = []  # noqa: RUF012 - replaced, never changed, before the first forward
    past = 0
    span = (0, 0)
    labels: tuple[str, ...] = ()
    cache: Any = None


class Acting:
    """What the hooks of one `steer` block ask: which rows and tokens, and in whose thread.

    `thread` as in `SteeringHook`; `start`: int64 `[]` or `[row]`, as the caller said it, or None.
    `folded`: the fold that steers instead of hooks.
    """

    def __init__(
        self,
        model: Model,
        directions: Sequence[Direction],
        mode: str,
        start: torch.Tensor | None = None,
        thread: int | None = None,
        folded: Fold | None = None,
    ) -> None:
        self.model, self.mode, self.start, self.thread = model, mode, start, thread
        self.directions, self.folded = directions, folded
        self.modules = self._modules()
        self.unchanged = Unchanged(model, directions)
        self.hooked: list[torch.nn.Module] = []
        self.now = _Now()
        self.forwards = self.of_others = 0
        self.closed = self.per_prompt = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Read and check every forward inside the block, and at its end what was hooked.

        Raises `SteeringError` at its end where a module was replaced, wrapped or changed inside the
        block, or other threads alone ran the model.
        """
        hf = self.model.hf
        # Not hf.base_model: OPT's head calls its decoder past it.
        stack = hf.get_submodule(self.model.anatomy.layers.rpartition(".")[0])
        with ExitStack() as undo:
            undo.callback(setattr, self, "closed", True)
            for module in (hf, stack):
                before = module.register_forward_pre_hook(
                    self.begin, with_kwargs=True, prepend=True
                )
                undo.callback(before.remove)
                undo.callback(module.register_forward_hook(self.end, always_call=True).remove)
            yield
        if [id(m) for m in self._modules()] != [id(m) for m in self.modules]:
            raise SteeringError(
                f"{self.model.name}: layers were replaced or wrapped while they were steered, so "
                "that the shift is not that of the model that ran; change the model first, then "
                "steer it"
            )
        self.unchanged.check()
        if self.thread is not None and self.of_others and not self.forwards:
            raise SteeringError(
                "a background thread steers itself alone, but other threads ran the model; run it "
                "in the thread of the block, or steer from the main thread"
            )
        if not self.forwards and self.folded is None:
            log.warning("%s: no forward ran while it was steered by hooks", self.model.name)

    def _modules(self) -> list[torch.nn.Module]:
        try:
            return [m for d in self.directions for m in steered_modules(self.model, d)]
        except (AttributeError, IndexError):  # The model is no longer built like that.
            return []

    def __reduce__(self) -> Any:
        raise SteeringError(
            "a copy made inside a steer block would stay steered; copy the model before or after it"
        )

    @property
    def elsewhere(self) -> bool:
        """Whether another thread than the one that steers is running the model."""
        return self.thread is not None and self.thread != threading.get_ident()

    def begin(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read a forward's shape, mask and cache before its layers run: a forward pre-hook.

        Of a call within a call the outer one counts. Raises `SteeringError` where it is not known
        which tokens are to be steered.
        """
        # What is compiled inside the block would keep what it sees here.
        if torch.compiler.is_compiling():
            return
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
        if self.folded is not None:
            self.folded.check()
        self.unchanged.check_state()
        now.ran = [0] * len(self.hooked)
        given = kwargs if not args else arguments(module, args, kwargs)
        tokens = given.get("input_ids")
        tokens = given.get("inputs_embeds") if tokens is None else tokens
        if tokens is None:
            raise SteeringError(f"a {type(module).__name__} was called without input_ids")
        now.shape = (rows, width) = tuple(tokens.shape[:2])
        now.cache = given.get("past_key_values")
        now.past = int(now.cache.get_seq_length()) if now.cache is not None else 0
        now.labels = (*self.model.hooked, *(fold.label for fold in self.model.folds))
        batch = self.model.in_flight
        if self.per_prompt:
            now.prompt, now.total = prompts(batch, rows)
        now.steered, now.span = None, (0, 0)
        if self.mode != "all":
            start = self._starts(batch, given, now) - int(self.mode == "last")
            now.span = int(start.min()), int(start.max())
            if now.past < now.span[1]:
                now.steered = now.past + torch.arange(width) >= start[:, None]
        # Under a fold our own calls put caches together from parts.
        if now.past and (self.folded is None or batch is None):
            self._check_cache(now)

    def _check_cache(self, now: _Now) -> None:
        """Raise `SteeringError` where what is cached was not steered as the mode asks of it."""
        past = now.past
        unsteered = (now.labels, past, (past, past))
        made_by, length, made = getattr(now.cache, "steered_by", unsteered)
        first_made, last_made = (min(column, past) for column in made)
        first_asked, last_asked = (min(column, past) for column in now.span)
        same = first_made <= first_asked and last_asked <= last_made
        if first_made < past:
            same = same and made_by == now.labels and past <= length
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
        if torch.compiler.is_compiling() or self.elsewhere or now.outer is not module:
            return
        now.outer, cache, now.cache = None, now.cache, None
        self.forwards += 1
        if output is None:  # An error, or the end of a trace, is on its way out.
            return
        if self._checkpoints():
            for tensor in output.values() if hasattr(output, "values") else output:
                if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                    tensor.register_hook(self._check_open)
        if now.ran.count(1) != len(now.ran):
            hooked, times = next(x for x in zip(self.hooked, now.ran, strict=True) if x[1] != 1)
            raise SteeringError(
                f"{self.model.name}: the hook of {self._name(hooked)} ran {times} times in a "
                "forward, not once: the layer was skipped, replaced, repeated or its code was "
                "called past its hooks. This forward is not steered as asked; steer a model that "
                "runs each layer once, or fold() the direction"
            )
        cache = getattr(output, "past_key_values", None) if cache is None else cache
        if cache is not None:
            # On the cache itself, so that its copies carry it.
            cache.steered_by = (now.labels, now.past + now.shape[1], now.span)

    def adding(self, module: torch.nn.Module, vector: torch.Tensor, alpha: Any) -> Callable:
        """A forward hook that adds alpha (one for all, or float32 `[prompt]`) times `vector`."""
        place = len(self.hooked)
        self.hooked.append(module)
        alphas = alpha if isinstance(alpha, torch.Tensor) else None
        self.per_prompt = self.per_prompt or alphas is not None
        vector = vector if alphas is not None else alpha * vector
        copies: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

        def add(_: torch.nn.Module, __: Any, output: Any) -> Any:
            # A layer copied inside the block takes this hook with it.
            if self.closed or self.elsewhere:
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
            return spread(batch.start, rows)
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
