"""The kernel of a run: its sockets lie in a folder of its own, and it ends when the run does.

As a script, the process of the kernel; it imports nothing of the package.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

_PREFIX = "workbench-kernel-"
_PR_SET_PDEATHSIG = 1


class Kernel(AsyncKernelManager):
    """Starts and ends one kernel of this interpreter; connection file and sockets in `folder`.

    Jupyter's own would be of the kernelspec python3 that it finds first, perhaps of another
    environment, and parallel runs begun in one place would choose the same sockets.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(transport="ipc", connection_file=str(folder / "kernel.json"))
        self._kernel_spec = KernelSpec(
            argv=[sys.executable, __file__, "-f", "{connection_file}"], language="python"
        )
        self._log = folder / "kernel.log"
        self._client: Any = None

    def client(self, **kwargs: Any) -> Any:
        """As Jupyter's; `end` closes its channels."""
        self._client = super().client(**kwargs)
        return self._client

    async def start_kernel(self, **kwargs: Any) -> None:
        """As Jupyter's; what the process itself says goes to a file, not to the terminal.

        Its temporary files lie here too: libraries leave some where a process is killed.
        """
        temporary = self._log.with_name("tmp")
        temporary.mkdir(exist_ok=True)
        env = {**os.environ, "TMPDIR": str(temporary)}
        with self._log.open("wb") as log:
            await super().start_kernel(**{"stdout": log, "stderr": log, "env": env, **kwargs})

    async def end(self) -> None:
        """Interrupt what runs, ask the kernel to end, kill it after `shutdown_wait_time`."""
        # Where a signal interrupted the client, what it had begun would go on in this loop.
        begun = asyncio.all_tasks() - {asyncio.current_task()}
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        if self._client is not None:
            self._client.stop_channels()
        if self.has_kernel:
            await self.shutdown_kernel()
        else:
            await self.cleanup_resources()

    def death(self) -> str:
        """What is known of a kernel's end: the signal, and the last that the process said."""
        code = run_sync(self.provisioner.poll)() if self.has_kernel else None
        by = f" by {signal.Signals(-code).name}" if code and code < 0 else ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        return by + "".join(f": {line}" for line in [x for x in lines if x.strip()][-1:])


@contextlib.contextmanager
def kernel() -> Iterator[Kernel]:
    """A manager for the kernel of one run; no process or file of it is left after the block."""
    with _folder() as folder:
        manager = Kernel(folder)
        try:
            yield manager
        finally:
            try:
                run_sync(manager.end)()
            finally:
                if manager.has_kernel:  # interrupted once more
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(manager.provisioner.pid, signal.SIGKILL)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder held by a lock; those of runs that were killed are removed."""
    from workbench.writing import held_folder, locked  # the script imports nothing of the package

    # The path of a socket may have 107 bytes.
    shared = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
    for left in Path(shared).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), locked(left) as dead:
            if dead:
                shutil.rmtree(left)
    with held_folder(shared, _PREFIX) as folder:
        yield folder


def _end_with_parent() -> None:
    """Let the system kill this process when the run ends; where it cannot, ipykernel polls.

    A kernel that looks every second for its parent's end does not see one that ended while it was
    starting, where orphans go to a process other than 1.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ["JPY_PARENT_PID"]):
            sys.exit(1)


if __name__ == "__main__":
    _end_with_parent()
    del sys.path[0]  # the folder of this file
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
