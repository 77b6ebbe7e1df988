"""eager(): run compiled models as plain Python, so that hooks run."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.Lock()
_stance = ExitStack()
_inside = 0


@contextmanager
def eager() -> Iterator[None]:
    """Run whatever is compiled as plain Python inside the block, in every thread.

    A graph that was compiled before a hook was registered does not run it, and one that is compiled
    with a hook keeps it for good.
    """
    global _inside
    with _lock:
        # The compiler has one stance for all threads, whose blocks may end in any order.
        if _inside == 0:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _stance.close()
