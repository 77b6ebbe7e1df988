"""Expensive steps cached by content, so that an interrupted run goes on where it stopped."""

import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.hashing import digest
from workbench.writing import alone, whole

log = logging.getLogger(__name__)


def cached(folder: str | Path, name: str, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """`compute()`, or its result restored from `folder` if the same name and key were done before.

    `key` holds everything the result depends on (arguments, data, model fingerprint) as JSON;
    a path counts as its text, a tensor goes in as its digest. The result is what JSON makes of it,
    computed or restored alike: lists for tuples, text for other keys; NaN stays. Of several runs at
    once one computes and the others wait; where it fails, the next one tries. A killed step leaves
    nothing, a damaged file is named and made again. An empty `folder` caches nothing.

    Raises `ValueError` for a name that no file can have, `TypeError` for a key that is no JSON,
    `RunError` for a result that JSON cannot hold, `WriteError` where the disk refuses: before the
    step where that shows by then.
    """
    key = _key_json(key, f"step {name}: key")
    if not str(folder):
        return _plain(compute(), name)[0]
    if not name or Path(name).name != name or not name.isprintable():
        raise ValueError(f"step {name!r} is no file name")
    path = Path(folder) / f"{name}-{digest(_spelled(key))}.json"
    if (restored := _restored(path, name, key)) is not None:
        return restored["result"]
    with alone(path, name):
        if (restored := _restored(path, name, key)) is not None:
            return restored["result"]
        result, text = _plain(compute(), name)
        with whole(path) as partial:
            content = f'{{"key": {json.dumps(key)}, "result": {text}, "digest": "{digest(text)}"}}'
            partial.write_text(content, encoding="utf-8")
    return result


def _restored(path: Path, name: str, key: dict[str, Any]) -> dict[str, Any] | None:
    """What `cached` wrote for this key; None where there is nothing, or nothing to be trusted."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; choose another folder") from error
    except (ValueError, RecursionError) as error:
        content, wrong = None, str(error)
    else:
        wrong = "it holds no result"
    if isinstance(content, dict) and {"key", "result"} <= content.keys():
        if _spelled(content["key"]) != _spelled(key):
            wrong = "it is of another step"
        elif content.get("digest") != digest(json.dumps(content["result"])):
            wrong = "its result is not what was written"
        else:
            _say_restored(path.parent)
            log.info("%s: restored from cache", name)
            return content
    log.warning("%s: %s is damaged (%s); it is made again", name, path, wrong)
    return None


@functools.cache  # once for each folder
def _say_restored(folder: Path) -> None:
    log.warning(
        "%s holds finished steps, which are not done again; delete it to begin anew", folder
    )


def _key_json(value: Any, place: str) -> Any:
    """A key as JSON gives it back. What JSON has no word for may hide what differs."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case list() | tuple():
            return [_key_json(v, f"{place}[{i}]") for i, v in enumerate(value)]
        case dict() if all(isinstance(k, str) for k in value):
            return {k: _key_json(v, f"{place}[{k!r}]") for k, v in value.items()}
        case dict():
            raise TypeError(f"{place} has names that are no text: {list(value)!r:.80}")
    raise TypeError(
        f"{place} is a {type(value).__name__}, which is no JSON: pass its digest or its fields"
    )


def _plain(result: Any, name: str) -> tuple[Any, str]:
    """A result as JSON gives it back, and its text."""
    try:
        text = json.dumps(result)
        return json.loads(text, object_pairs_hook=_distinct), text
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"step {name}: its result cannot be kept as JSON: {error}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"keys that are the same as text, among {', '.join(content)[:80]}")
    return content


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
