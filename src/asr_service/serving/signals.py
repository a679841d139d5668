"""Signals of the master, received without signal handlers."""

import queue
import signal
from collections.abc import Iterable
from typing import Final

_QUICK_ENDS: Final = frozenset({signal.SIGINT, signal.SIGQUIT})


def quick_ends_first(signals: Iterable[int]) -> list[int]:
    """Put the signals that end the service at once before the others, which keep their order.

    SIGTERM ends Gunicorn's loop, and the signals after it in the list would be lost.
    """
    return sorted(signals, key=lambda each: each not in _QUICK_ENDS)


class SignalQueue:
    """The signals that a process has received. It has the methods of Gunicorn's queue that the master reads.

    The signals are blocked, and the process takes them when it asks for them. Handlers would run on the alternate
    stack of faulthandler, because CPython sets SA_ONSTACK. This stack has room for at most five handlers at once. The
    handlers of signals that arrive together are nested, so a sixth signal, or a fifth on some machines, would end the
    process or overwrite its heap.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        """Block `signals` in this thread, and in the threads and processes that it starts."""
        self._signals = frozenset(signals)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)

    def get(self, block: bool = True, timeout: float = 0) -> int:  # as in queue.SimpleQueue
        """Return the number of a signal, and wait at most `timeout` seconds for it. Raises queue.Empty: none came."""
        received = signal.sigtimedwait(self._signals, timeout if block else 0)
        if received is None:
            raise queue.Empty
        return received.si_signo

    def get_nowait(self) -> int:
        """Return the number of a signal that has arrived. Raises queue.Empty: there is none."""
        return self.get(block=False)
