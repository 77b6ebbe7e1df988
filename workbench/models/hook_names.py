"""TransformerLens hook names that are supported; read without any library."""

import re

from workbench.errors import FeatureError

SUPPORTED = (
    "blocks.L.hook_resid_pre",
    "blocks.L.hook_resid_post",
    "blocks.L.hook_mlp_out",
    "blocks.L.attn.hook_z",
)
_HOOK = re.compile(r"blocks\.(\d+)\.(hook_resid_pre|hook_resid_post|hook_mlp_out|attn\.hook_z)")


def parse_hook(hook_name: str) -> tuple[int, str]:
    """(layer, site) of a TransformerLens hook name; `FeatureError` naming `SUPPORTED`."""
    match = _HOOK.fullmatch(str(hook_name))
    if not match:
        raise FeatureError(f"hook {hook_name!r} is not supported; use {', '.join(SUPPORTED)}")
    return int(match[1]), match[2]
