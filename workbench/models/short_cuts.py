"""What a trial of a short cut needs: a text, what rounding may cause, what a verdict holds for."""

from random import Random

import torch
from transformers import PreTrainedModel

from workbench.models.model import Model

_CLOSE = 1e-4
"""Relative error of logits in full precision; plain rounding stays well below."""
_COARSE = 2**-4
"""The same in bfloat16, or with quantised weights."""
_TEXT = (
    "On 3 May she wrote: bring 12 red apples, two books and the old map; he said no, why not ask "
    "Tom? A gate, a hammer, milk, 7 stones (all grey) and rain over the hill."
)
FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, NotImplementedError)


def trial_ids(model: Model, length: int) -> list[int]:
    """Tokens of a text, in an order of their own."""
    known = dict.fromkeys(model.tokenizer(_TEXT, add_special_tokens=False)["input_ids"])
    known = [i for i in known if i < model.n_tokens] or [0]
    special = set(model.tokenizer.all_special_ids)
    return Random(0).choices([i for i in known if i not in special] or known, k=length)


def tolerance(hf: PreTrainedModel) -> float:
    """Relative error that rounding may cause."""
    fast = hf.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
    if fast or getattr(hf, "is_quantized", False):
        return _COARSE
    return min(_COARSE, max(_CLOSE, 16 * torch.finfo(hf.dtype).eps))


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative error, beside how far the expected values spread."""
    size = (expected - expected.mean()).norm()
    return float((got - expected).norm() / size) if size > 0 else 0.0


def state_of(hf: PreTrainedModel) -> int:
    """What a verdict depends on besides the weights: settings, attention, dtype and modules."""
    modules = [(type(m), getattr(m, "disable_adapters", None)) for m in hf.modules()]
    configs = [vars(hf.config), vars(hf.config.get_text_config())]
    return hash((repr(configs), tuple(modules), hf.dtype, hf.training))
