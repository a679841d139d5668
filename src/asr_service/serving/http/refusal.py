"""Answers to requests that never reach the application."""

import json
from dataclasses import dataclass
from typing import Final

from asr_service.errors import error_body


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error response in the shape of the application's own errors."""

    status: bytes
    """Status code and reason phrase."""
    code: str
    message: str
    headers: bytes = b""
    """Further header lines, each with its line end."""

    def to_bytes(self) -> bytes:
        """Return the whole response, which announces that the connection will be closed."""
        body = json.dumps(error_body(int(self.status.split()[0]), self.message, self.code)).encode()
        head = b"content-type: application/json\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
        head += self.headers
        return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (self.status, head, len(body), body)


def malformed(reason: str) -> Refusal:
    """Return the refusal of a request that breaks its protocol; `reason` is a sentence."""
    return Refusal(b"400 Bad Request", "malformed_request", reason)


def too_large_head(reason: str) -> Refusal:
    """Return the refusal of a request whose line and headers exceed a limit; `reason` is a sentence."""
    return Refusal(b"431 Request Header Fields Too Large", "head_too_large", reason)


MALFORMED: Final = malformed("The request is not valid HTTP/1.1.")
NO_HOST: Final = malformed("A request of HTTP/1.1 must have exactly one Host header.")
SLOW_HEAD: Final = Refusal(
    b"408 Request Timeout", "head_too_slow", "The request line and headers were not received in time."
)
UNKNOWN_TRANSFER_ENCODING: Final = Refusal(
    b"501 Not Implemented", "unsupported_transfer_encoding", "The only Transfer-Encoding that is supported is chunked."
)
TOO_MANY_CONNECTIONS: Final = Refusal(
    b"503 Service Unavailable",
    "overloaded",
    "The service has as many connections as it can hold. Try again later.",
    headers=b"retry-after: 5\r\n",
)
