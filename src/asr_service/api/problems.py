"""What a failure is over HTTP: the only place with status codes, and the one shape of every error body."""

import json
import math
from collections.abc import Mapping
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from asr_service import errors, metrics
from asr_service.errors import AsrError, KeyLimitReached, MissingKey, Unavailable, WrongKey

log = structlog.get_logger(__name__)

STATUS: Mapping[type[AsrError], int] = {
    errors.RequestError: 400,
    errors.MalformedRequest: 400,
    errors.MissingKey: 401,
    errors.WrongKey: 403,
    errors.PageRefused: 403,
    errors.ModelNotFound: 404,
    errors.UploadTooSlow: 408,
    errors.IdempotencyConflict: 409,
    errors.UploadTooLarge: 413,
    errors.AudioTooLong: 413,
    errors.UnsupportedAudio: 415,
    errors.InvalidParameter: 422,
    errors.UndecodableAudio: 422,
    errors.KeyLimitReached: 429,
    errors.ConcurrencyLimit: 429,
    errors.AudioLimit: 429,
    errors.ClientGone: 499,  # Nginx's number for it; nobody reads it but the log
    errors.InferenceFailed: 500,
    errors.Unavailable: 503,
    errors.Overloaded: 503,
    errors.NotReady: 503,
    errors.EngineStopped: 503,
    errors.DeadlineExceeded: 504,
}

MEANINGS: Mapping[int, str] = {
    400: "The form cannot be read",
    401: "No API key, where one is asked for",
    403: "A wrong API key",
    404: "No such address, or no such model",
    405: "No such method here",
    408: "The upload stopped coming",
    409: "The Idempotency-Key came before with another request",
    413: "The upload is too large, or the recording too long",
    415: "Not audio, or not a kind of audio that is taken",
    422: "A parameter is refused, or nothing of the recording decodes",
    429: "The key's own limit is reached: try again after Retry-After seconds",
    500: "The model failed on this recording",
    503: "Saturated, loading or draining: try again after Retry-After seconds",
    504: "The answer took longer than ASR_REQUEST_TIMEOUT_S",
}


_CHALLENGE = 'Bearer realm="asr-service"'
_NOT_AGAIN = {"x-should-retry": "false"}
"""What was tried as often as it helps, or for as long, or cannot change: OpenAI's clients, which take a 409 too for
something that passes, would send the recording twice more.
"""

UNEXPECTED = "an unexpected error; the service's log has it"


def status_of(error: AsrError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(error: AsrError) -> Response:
    """Answer with the error, in the shape that OpenAI's clients know, and count it."""
    metrics.FAILURES.labels(error.code).inc()
    return uncounted_problem(error)


def uncounted_problem(error: AsrError) -> Response:
    """The same to a probe, which wanted no transcript."""
    return _response(status_of(error), error.message, error.code, error.param, _headers(error))


def _headers(error: AsrError) -> Mapping[str, str]:
    match error:
        case Unavailable() | KeyLimitReached():
            return {"retry-after": str(math.ceil(error.retry_after_s))}
        case MissingKey():
            return {"www-authenticate": _CHALLENGE}
        case WrongKey():
            return {"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'}
        case errors.InferenceFailed() | errors.DeadlineExceeded() | errors.IdempotencyConflict():
            return _NOT_AGAIN
        case _:
            return {}


def _response(status: int, message: str, code: str, param: str | None, headers: Mapping[str, str]) -> Response:
    body = json.dumps(error_body(status, message, code, param), ensure_ascii=False)
    return Response(body, status, headers=dict(headers), media_type="application/json")


def error_body(status: int, message: str, code: str, param: str | None) -> dict[str, dict[str, str | None]]:
    """Every failure's body, whoever answers it."""
    return {"error": {"message": message, "type": kind_of(status), "param": param, "code": code}}


def kind_of(status: int) -> str:
    return "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004


async def on_asr_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, AsrError)  # noqa: S101 - registered for it alone
    note_failure(error)
    return problem(error)


def note_failure(error: AsrError) -> None:
    """Have what is the service's own fault in the log, with its cause, under the request's id."""
    if status_of(error) == 500:  # noqa: PLR2004
        log.error("request failed", error=repr(error), cause=repr(error.__cause__))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    path = quote(request.url.path[:200])  # it may hold line ends and what terminals obey
    message = {
        404: f"there is nothing at {path}; /docs lists what there is",
        405: f"{request.method} is not answered at {path}",
    }.get(error.status_code, str(error.detail))
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    metrics.FAILURES.labels(code).inc()
    return _response(error.status_code, message, code, None, error.headers or {})


async def on_crash(_request: Request, _error: Exception) -> Response:
    """A defect of ours: the log has the trace (by RequestLog), the caller is told no more than that."""
    metrics.FAILURES.labels("internal_error").inc()
    return _response(500, UNEXPECTED, "internal_error", None, {})
