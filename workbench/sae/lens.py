"""Which tokens a feature's decoder direction speaks for: the logit lens, with the final norm."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from workbench.arguments import whole
from workbench.errors import FeatureError
from workbench.models.anatomy import final_norm
from workbench.sae.loading import require_fit


def norm_gain(model: Any) -> torch.Tensor:
    """Factor by which the final norm multiplies each coordinate, `[d]` float32.

    Read off the norm itself, so that Gemma's 1 + weight needs no special case: of ±1 alternating,
    mean 0 and variance 1, an RMS norm or layer norm returns ±gain (+ bias, which cancels).
    """
    norm = final_norm(model)
    if norm is None:
        return torch.ones(model.config.get_text_config().hidden_size)
    weight = next(norm.parameters())
    signs = torch.ones(len(weight), device=weight.device)
    signs[1::2] = -1
    with torch.no_grad():
        both = norm(torch.stack([signs, -signs]).to(weight.dtype)).float()
    return ((both[0] - both[1]) / 2 * signs).cpu()


@torch.no_grad()
def lens(
    model: Any,
    sae: Any,
    hook_name: str,
    tokenizer: Any,
    features: Sequence[int] | None = None,
    *,
    top: int = 10,
    budget: int = 1 << 26,
) -> pd.DataFrame:
    """The logit lens of features (all of them by default), indexed by feature.

    W_U (g ⊙ W_dec,i), g the final norm's gain, without which the order of tokens is another. Where
    the norm is a layer norm the direction is centred, and `hook_z` directions pass through
    `o_proj`. Columns: `up`, `down`: the `top` tokens with the largest and smallest logits, and
    `up_logits`, `down_logits`; `skew`, `kurtosis` (excess) of all logits. `budget`: bytes of logits
    held at a time. Raises `FeatureError` for a feature that the SAE does not have.
    """
    hook = require_fit(sae, model, hook_name)
    most = sae.cfg.d_sae - 1
    asked = range(sae.cfg.d_sae) if features is None else features
    picked = [whole("feature", f, 0, most, FeatureError) for f in asked]
    top = whole("top", top, 1, error=FeatureError)
    head = model.get_output_embeddings().weight.detach().float()
    directions = sae.W_dec[picked].detach().float().to(head.device)
    if hook.heads > 1:
        directions = _through(hook.module, directions)
    if isinstance(final_norm(model), torch.nn.LayerNorm):
        directions = directions - directions.mean(1, keepdim=True)
    directions = directions * norm_gain(model).to(head.device)
    rows = []
    step = max(budget // (4 * len(head)), 1)
    for start in range(0, len(picked), step):
        logits = directions[start : start + step] @ head.T
        centred = (logits - logits.mean(1, keepdim=True)).double()
        spread = centred.square().mean(1).sqrt().clamp(min=1e-30)
        standard = centred / spread[:, None]
        skew = standard.pow(3).mean(1).tolist()
        kurtosis = (standard.pow(4).mean(1) - 3).tolist()
        ends = [logits.topk(min(top, len(head)), dim=1, largest=x) for x in (True, False)]
        for i in range(len(logits)):
            (up, up_ids), (down, down_ids) = ((e.values[i], e.indices[i].tolist()) for e in ends)
            rows.append(
                {
                    "up": tokenizer.convert_ids_to_tokens(up_ids), "up_logits": up.tolist(),
                    "down": tokenizer.convert_ids_to_tokens(down_ids), "down_logits": down.tolist(),
                    "skew": skew[i], "kurtosis": kurtosis[i],
                }
            )  # fmt: skip
    return pd.DataFrame(rows, index=pd.Index(picked, name="feature"))


def _through(o_proj: torch.nn.Module, directions: torch.Tensor) -> torch.Tensor:
    """Directions of heads as `o_proj` writes them into the residual stream; biases stay out."""
    zero = torch.zeros_like(directions[:1]).to(o_proj.weight)
    return (o_proj(directions.to(o_proj.weight)) - o_proj(zero)).float()
