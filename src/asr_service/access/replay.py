"""How a request relates to earlier work under the same Idempotency-Key."""

from enum import Enum, auto


class ReplayState(Enum):
    """Decides which limits apply to a request. A request without an Idempotency-Key is NEW."""

    NEW = auto()
    """The request starts work. Every limit applies."""
    ATTACHED = auto()
    """The work is running or done, so the request adds none. The limits on audio and on the queue do not apply."""
    ADOPTED = auto()
    """The work is running and its clients have left. The request takes over their lease, so no limit applies."""
