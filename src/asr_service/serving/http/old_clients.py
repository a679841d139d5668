"""Answers for clients of HTTP/1.0, which know neither chunks nor `100 Continue` (RFC 9112, section 6.1)."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def without_chunks(cycle: RequestResponseCycle, app: Any) -> Any:
    """Return the application for one request of HTTP/1.0. The end of the connection is the end of the answer."""
    cycle.waiting_for_100_continue = False
    cycle.chunked_encoding = False

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_part(message: Any) -> None:
            cycle.expected_content_length = len(message.get("body", b""))  # Uvicorn expects the rest of the answer
            await send(message)

        await app(scope, receive, send_part)

    return answer
