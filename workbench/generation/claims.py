"""Which call draws which samples of a store: claims that end with the call, or with its process."""

import contextlib
import glob
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.errors import StoreError


class Claims:
    """Claims on the samples of the store at `path`; None: of one in memory.

    Beside the file each call that draws has a file of the keys it draws, locked while it lives.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._in_memory: set[str] = set()

    @contextlib.contextmanager
    def held(self, keys: Iterable[str]) -> Iterator[set[str]]:
        """Those of `keys` that no other call draws; they are claimed until the block ends.

        Raises `StoreError` where a claim cannot be written.
        """
        if self._path is None:
            with self._mutex:
                ours = set(keys) - self._in_memory
                self._in_memory |= ours
            try:
                yield ours
            finally:
                with self._mutex:
                    self._in_memory -= ours
            return
        with contextlib.ExitStack() as claim:
            try:
                with FileLock(f"{self._path}.lock", timeout=60):
                    ours = set(keys) - self._of_others(self._path)
                    if ours:
                        own = Path(f"{self._path}.{secrets.token_hex(8)}.claims")
                        claim.enter_context(FileLock(own))
                        claim.callback(own.unlink, missing_ok=True)
                        own.write_text("\n".join(ours), encoding="utf-8")
            except OSError as error:
                raise StoreError(
                    f"{self._path}: samples cannot be claimed beside it: {error}. Make room there, "
                    "or give a store elsewhere"
                ) from error
            yield ours

    @staticmethod
    def _of_others(path: Path) -> set[str]:
        """Keys that living calls hold; the claims of dead ones are removed."""
        keys: set[str] = set()
        for file in path.parent.glob(f"{glob.escape(path.name)}.*.claims"):
            try:
                with FileLock(file, timeout=0):
                    file.unlink(missing_ok=True)
            except Timeout:
                with contextlib.suppress(FileNotFoundError):  # its call has just ended
                    keys |= set(file.read_text(encoding="utf-8").split())
        return keys
