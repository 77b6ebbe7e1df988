"""The head of a model by itself: logits of a few hidden states at a time, as the family has it."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from workbench.models.eager import eager
from workbench.models.model import Model
from workbench.models.short_cuts import FAILURES


class Head:
    """What a causal LM does behind its layers: projection, bias, soft cap, scale.

    The class's own forward is run, on copies of the outermost modules alone, in which known hidden
    states take the place of the layers. The model itself stays as it is.
    """

    def __init__(self, model: Model) -> None:
        self.hf = model.hf
        # Not hf.base_model: OPT's head calls its decoder past it.
        self.path = model.anatomy.layers.rpartition(".")[0]
        self.hidden: torch.Tensor | None = None

    @contextmanager
    def set_apart(self) -> Iterator[None]:
        """Inside, forwards of this thread keep what the layers return: `hidden` `[row, token, d]`.

        The model's own head then gets the last token but one of the first row, and nothing else.
        """
        thread = threading.get_ident()

        def keep(_: torch.nn.Module, __: Any, output: Any) -> Any:
            if thread != threading.get_ident():
                return None
            self.output, self.hidden = output, output[0]
            return _with(output, self.hidden[:1, -2:-1])

        with eager(), self.hf.get_submodule(self.path).register_forward_hook(keep):
            yield

    def agrees(self, logits: torch.Tensor) -> bool:
        """Whether it makes the `logits` `[1, vocab]` that the model's own head has made.

        Not where more than that hidden state matters, or hooks change what the model returns.
        """
        if self.hidden is None or not self.path:
            return False
        try:
            own = self.logits(self.hidden[0, -2:-1]).float()
        except FAILURES:
            return False
        return torch.allclose(own, logits, rtol=1e-4, atol=1e-5, equal_nan=True)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits `[n, vocab]` of `hidden` `[n, d]`, in the model's dtype."""
        twin = _twin(self.hf, self.path, _with(self.output, hidden[None]))
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        return type(self.hf).forward(twin, input_ids=ids).logits[0]


def _twin(module: torch.nn.Module, path: str, output: Any) -> torch.nn.Module:
    """A module that shares all with `module`, but what lies at `path` returns `output`."""
    twin = copy.copy(module)
    # These would be bound to the module, as nnsight's forward is; copies leave compiled calls out.
    for own in ("forward", "__nnsight__"):
        vars(twin).pop(own, None)
    name, _, rest = path.partition(".")
    if name:
        twin._modules = {**module._modules, name: _twin(module.get_submodule(name), rest, output)}
    else:
        twin.forward = lambda *_, **__: output
        twin._forward_hooks, twin._forward_pre_hooks = {}, {}
    return twin


def _with(output: Any, hidden: torch.Tensor) -> Any:
    """What layers return, with these hidden states."""
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    return type(output)(**{**output, next(iter(output)): hidden})
