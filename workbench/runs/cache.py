"""Expensive steps cached by content, so that an interrupted run goes on where it stopped."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def cached(folder: str | Path, name: str, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """`compute()`, or its result restored from `folder` if the same name and key were done before.

    `key` holds everything the result depends on (arguments, data, model fingerprint) as JSON; so
    does the result. Written atomically: a killed step leaves nothing. An empty `folder` caches
    nothing.
    """
    if not str(folder):
        return compute()
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=repr).encode()).hexdigest()[:16]
    path = Path(folder) / f"{name}-{digest}.json"
    if path.exists():
        log.warning("%s: restored from cache", name)
        return json.loads(path.read_text(encoding="utf-8"))["result"]
    result = json.loads(json.dumps(compute()))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "result": result}, default=repr), encoding="utf-8")
    partial.replace(path)
    return result
