"""Run the same work on several threads at once."""

import threading
import time
from collections.abc import Callable


def run_on_threads(work: Callable[[], object], n_threads: int) -> float:
    """Call `work` once on each of `n_threads` threads, wait for all of them, and return the elapsed seconds."""
    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
