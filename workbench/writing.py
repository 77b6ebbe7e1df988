"""Files and folders written whole or not at all, and what a disk that refuses them is called."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workbench.errors import WorkbenchError, WriteError

log = logging.getLogger(__name__)

_FULL = "make room there, or choose another folder"
_ELSEWHERE = "choose another path"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EISDIR: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EEXIST: _ELSEWHERE,
    errno.ELOOP: _ELSEWHERE,
    errno.ENAMETOOLONG: _ELSEWHERE,
    errno.EIO: "check the disk, or choose another folder",
}
# Safetensors and tokenizers give the number in the text; NumPy and torch say that it is too little.
_NUMBER = re.compile(r"\(os error (\d+)\)")
_LESS = re.compile(r"^\d+ requested and \d+ written$|inline_container.*(unexpected pos|write)")
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
_LOCK, _BEFORE = ".lock", ".before"


@contextlib.contextmanager
def disk_errors(path: str | Path, kind: type[WorkbenchError] = WriteError) -> Iterator[None]:
    """Raise `kind`, naming `path` and what to do, where the disk refuses what the block writes.

    Full, read-only or broken disks, quotas, rights, folders in the way, names that are too long;
    as `OSError` or as the libraries say it; paths that are none. Other exceptions, also of files
    elsewhere, pass.
    """
    try:
        no_path = b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        no_path = True
    if no_path:
        raise kind(f"{str(path)!a:.200} is no path; {_ELSEWHERE}")
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        number = _refusal(error, Path(path))
        if number is None:
            raise
        raise kind(
            f"{path} cannot be written: {os.strerror(number)}; {_REMEDIES[number]}. What was "
            "finished before is kept"
        ) from error


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path on the same disk to write a file or folder to; it becomes `path` when the block ends.

    An exception removes what was written and leaves `path` as it was. A folder that is there
    already is replaced, as a file is. Folders above it are made. Of several writers at once the
    last one's is there, whole; what was written is on the disk before it appears. Raises
    `WriteError` where the disk refuses.

    >>> with whole("out/table.csv") as partial:
    ...     frame.to_csv(partial)
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path.parent)
        with held_folder(path.parent, ".", ".partial") as place:
            yield place / path.name
            _sync(place / path.name)
            _replace(place / path.name, path, place / _BEFORE)
        _sync_entry(path.parent)


@contextlib.contextmanager
def alone(path: str | Path, name: str) -> Iterator[None]:
    """Hold what becomes `path` while it is made; wait, saying so, where another process makes it.

    Whoever waited should look whether it is there now. Raises `WriteError` where the disk refuses.
    """
    with disk_errors(path):
        lock = FileLock(f"{path}.lock", poll_interval=0.2)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("%s: another run computes it; waiting", name)
            lock.acquire()
    try:
        yield
    finally:
        # Whoever waits sees that the file it opened is gone, and begins anew.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def write_json(path: str | Path, content: Any, *, indent: int | None = 1) -> None:
    """Write `content` as JSON, as `whole` does. Raises `ValueError` for NaN and infinity."""
    text = json.dumps(content, indent=indent, allow_nan=False)
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _refusal(error: Exception, path: Path) -> int | None:
    """The number of the system's error where it says that `path` cannot be written."""
    if isinstance(error, OSError) and error.errno is not None:
        number, named = error.errno, error.filename
        if isinstance(named, str):
            named, path = Path(named).absolute(), path.absolute()
            if not (named.is_relative_to(path.parent) or path.is_relative_to(named)):
                return None
    elif match := _NUMBER.search(str(error)):
        number = int(match[1])
    else:
        number = errno.ENOSPC if _LESS.search(str(error)) else 0
    return number if number in _REMEDIES else None


@contextlib.contextmanager
def held_folder(parent: str | Path, prefix: str, suffix: str = "") -> Iterator[Path]:
    """A new folder that is this process's, by `locked`, until the block ends; then it is gone."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=parent))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            try:
                if not stack.enter_context(locked(place)):
                    continue  # another writer took it for one that was left
            except OSError as error:
                if error.errno not in _NO_LOCKS:  # then nobody clears anything there, either
                    raise
            yield place
            return


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed writers left here; put back a folder they had not yet replaced."""
    for left in folder.glob(".*.partial"):
        with contextlib.suppress(OSError), locked(left) as dead:
            if dead:
                for old in (left / _BEFORE).glob("*"):
                    if not os.path.lexists(folder / old.name):
                        old.replace(folder / old.name)
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def locked(place: Path) -> Iterator[bool]:
    """Whether the folder is ours until the block ends: neither another's, nor gone.

    A folder that is gone stays so: a lock that made it again would hold another one.
    """
    try:
        lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(lock).st_nlink > 0
    finally:
        os.close(lock)


def _replace(new: Path, path: Path, before: Path) -> None:
    if not new.is_dir():
        new.replace(path)
        return
    # A folder cannot be replaced in one step. The old one goes aside first: removing it where it
    # stands would show it half removed.
    before.mkdir()
    old = before / path.name
    while True:
        _remove(old)
        with contextlib.suppress(FileNotFoundError):
            path.replace(old)
        try:
            new.replace(path)
            return
        except OSError:
            if not path.exists():  # not one that another writer put there meanwhile
                if old.exists():
                    old.replace(path)
                raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or all of a folder, is on the disk."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            _sync(inner)
        _sync_entry(path)
    elif path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _sync_entry(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where its file system can tell."""
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(entry)
