"""The config of a compiled network: what lies beside its weights, and its certificate."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from transformers import PreTrainedConfig

from workbench.arguments import shown
from workbench.errors import ModelError, UncertifiedDtypeError

NEEDED = ("vocabulary", "between", "end", "outputs", "window", "d_model", "heads", "head_dims",
          "units")  # fmt: skip
UNPROVED = 1024
"""Symbols up to which float32 and float64 need no certificate: all that is computed on the way
there stays far within what they hold exactly (spec §9.4)."""


def float_dtype(dtype: Any) -> torch.dtype:
    """A dtype of floating point, or the one of a name. Raises `ValueError` for any other."""
    named = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ValueError(f"dtype={shown(dtype)}: it must be one of floating point")
    return named


class CoNNConfig(PreTrainedConfig):
    """Sizes and meaning of a compiled network.

    `vocabulary`, `outputs`: symbols by id; BOS and PAD follow the vocabulary. `between`, `end`: as
    of `language.Token`. `heads`, `head_dims`, `units`: of each layer. `window`: symbols of an
    input, at most. `labels`: what each dimension of the residual stream stands for.
    `certificate`: what was proved of it (`certificate.certify`). `digest`: of the network as it was
    saved.
    """

    model_type = "wb_conn"

    program: str = ""
    vocabulary: Sequence[str] = ()
    between: Sequence[str] = ()
    end: str = ""
    outputs: Sequence[str] = ()
    window: int = 1
    d_model: int = 3
    heads: Sequence[int] = ()
    head_dims: Sequence[int] = ()
    units: Sequence[int] = ()
    labels: Sequence[str] = ()
    certificate: dict[str, Any] | None = None
    digest: str = ""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **others: Any) -> Self:
        """The config of a config.json's content. Raises `ModelError` naming keys it lacks."""
        if lacking := [name for name in (*NEEDED, "digest") if name not in config_dict]:
            raise ModelError(
                f"config.json is not that of a whole compiled network: it lacks "
                f"{', '.join(lacking)}. Save the network again"
            )
        return super().from_dict(config_dict, **others)

    @property
    def bos(self) -> int:
        return len(self.vocabulary)

    @property
    def pad(self) -> int:
        return len(self.vocabulary) + 1

    def certified(self, dtype: torch.dtype) -> int:
        """Symbols up to which the network is known to be exact in a dtype, 0 for not at all."""
        name = str(dtype).removeprefix("torch.")
        proved = (self.certificate or {}).get("dtypes", {})
        if name in proved:
            return proved[name]["max_len"]
        return UNPROVED if dtype in (torch.float32, torch.float64) else 0

    def require_certified(self, dtypes: set[torch.dtype], length: int) -> None:
        """Raise `UncertifiedDtypeError` for dtypes of weights that a length is not proved in."""
        for dtype in dtypes:
            if len(dtypes) > 1 or length > (most := self.certified(dtype)):
                names = " and ".join(sorted(str(each).removeprefix("torch.") for each in dtypes))
                known = "dtypes are mixed" if len(dtypes) > 1 else f"it is certified to {most}"
                raise UncertifiedDtypeError(
                    f"{self.program or 'this network'} in {names} on {length} symbols: {known}. "
                    "Use .float(), or certificate.certify(network, dtypes=…), or set "
                    "network.allow_uncertified = True and check what it answers"
                )
