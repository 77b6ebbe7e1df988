"""Expensive steps cached by content, so that an interrupted run goes on where it stopped."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.hashing import digest
from workbench.writing import whole

log = logging.getLogger(__name__)


def cached(folder: str | Path, name: str, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """`compute()`, or its result restored from `folder` if the same name and key were done before.

    `key` holds everything the result depends on (arguments, data, model fingerprint) as JSON; so
    does the result. Written atomically: a killed step leaves nothing. An empty `folder` caches
    nothing.
    """
    if not str(folder):
        return compute()
    path = Path(folder) / f"{name}-{digest(json.dumps(key, sort_keys=True, default=repr))}.json"
    if path.exists():
        log.warning("%s: restored from cache", name)
        return json.loads(path.read_text(encoding="utf-8"))["result"]
    result = json.loads(json.dumps(compute()))
    with whole(path) as partial:
        content = {"key": key, "result": result}
        partial.write_text(json.dumps(content, default=repr), encoding="utf-8")
    return result
