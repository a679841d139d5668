"""The states of an HTTP connection."""

from enum import Enum, auto


class ConnectionState(Enum):
    """The state of a connection. Each has at most one time limit, after which the connection is closed.

    READ_HEAD --> READ_BODY --> RESPONDING --> IDLE
        ^                           |           |
        +---------------------------+-----------+   the next request begins
    READ_HEAD --> UPGRADED                          the connection belongs to a WebSocket
    any of them --> LINGERING --> CLOSED            refused, or the last answer was given
    """

    READ_HEAD = auto()
    """The head of a request is awaited or received, for at most `head_s`. A new connection begins here."""
    READ_BODY = auto()
    """The body is received. The application limits the time; `head_s` does if the request was already answered."""
    RESPONDING = auto()
    """All requests were received, and the application has not answered all of them."""
    IDLE = auto()
    """All requests were answered, and the next one is awaited for at most `keep_alive_s`."""
    UPGRADED = auto()
    """A BoundedWebSocket has the connection. This state has no end."""
    LINGERING = auto()
    """Nothing more is sent. Received data is discarded until the client closes or `lingering_close_s` is over."""
    CLOSED = auto()
