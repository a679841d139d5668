"""The header that has the warnings of a response."""

from typing import Final

from starlette.responses import Response

HEADER: Final = "X-ASR-Warning"
"""Has the warnings about the recording, which some formats have no field for, and names the fields of the request that
have no effect although they might have changed the text."""
_MAX_CHARS: Final = 1000


def add_warnings(response: Response, warnings: tuple[str, ...]) -> None:
    """Add sentences to the header. They may have text of the recording, so only printable ASCII is kept."""
    if not warnings:
        return
    text = " ".join([*filter(None, [response.headers.get(HEADER)]), *warnings])
    response.headers[HEADER] = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:_MAX_CHARS]
