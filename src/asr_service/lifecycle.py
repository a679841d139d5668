"""The states of a slot, shared by the engine, the worker and the master."""

from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn


class SlotState(StrEnum):
    """The state of a slot, as /health and the logs show it (diagram: docs/architecture.md, "Life of a slot")."""

    DOWN = "down"
    """No worker process has the slot."""
    LOADING = "loading"
    """The worker finds, fetches, loads or warms up its model. Requests for work get a 503."""
    READY = "ready"
    """The slot takes requests."""
    DRAINING = "draining"
    """The worker finishes accepted requests and refuses new ones."""
    FAILED = "failed"
    """The engine cannot work. The worker process ends."""


Die = Callable[[int, str], NoReturn]
"""Ends this process at once, from any thread: exit code (1 to 255) and reason."""
