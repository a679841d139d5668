"""Refuses encoded request bodies: no endpoint decodes them."""

from starlette.requests import Request


def coding_problem(request: Request) -> str | None:
    """Return a sentence if the request has a Content-Encoding, such as gzip, or None."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"", "identity"}:
        return None
    return f"Content-Encoding {coding[:64]!r} is not supported. Send the body as it is."
