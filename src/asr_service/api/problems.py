"""The HTTP status and headers of each error. No other module maps errors to status codes."""

import difflib
import errno
import json
import math
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from asr_service import errors, metrics
from asr_service.errors import AsrError, ClientGone, KeyLimitReached, MissingKey, Unavailable, WrongKey, error_body

log = structlog.get_logger(__name__)

STATUS: Mapping[type[AsrError], int] = {
    errors.RequestError: 400,
    errors.MalformedRequest: 400,
    errors.MissingKey: 401,
    errors.WrongKey: 401,
    errors.PageRefused: 403,
    errors.WorkerKeyRequired: 403,
    errors.ModelNotFound: 404,
    errors.JobNotFound: 404,
    errors.NoWebSocket: 404,
    errors.UploadTooSlow: 408,
    errors.IdempotencyConflict: 409,
    errors.NoTranscript: 409,
    errors.JobExpired: 410,
    errors.UploadTooLarge: 413,
    errors.AudioTooLong: 413,
    errors.UnsupportedAudio: 415,
    errors.InvalidParameter: 422,
    errors.UndecodableAudio: 422,
    errors.UpgradeRequired: 426,
    errors.KeyLimitReached: 429,
    errors.ConcurrencyLimit: 429,
    errors.AudioLimit: 429,
    errors.JobLimit: 429,
    errors.ClientGone: 499,  # the status that Nginx logs in this case; no client receives it
    errors.InferenceFailed: 500,
    errors.DecoderFailed: 500,
    errors.JobsDisabled: 501,
    errors.Unavailable: 503,
    errors.Overloaded: 503,
    errors.CallerLimit: 503,
    errors.NotReady: 503,
    errors.EngineStopped: 503,
    errors.DeadlineExceeded: 504,
}

MEANINGS: Mapping[int, str] = {
    400: "The form cannot be parsed. Under /v1 also: a parameter is invalid, or the file is not audio that decodes",
    401: "The API key is missing or invalid",
    403: "A page of this origin, or this method, may not call the service from a browser",
    404: "The path, the model or the job does not exist",
    405: "The path does not support this method",
    408: "The upload stalled or was too slow",
    409: "The Idempotency-Key was used with another request, or the job has no transcript",
    410: "The job's transcript was deleted, because its retention time is over",
    413: "The upload is too large, or the recording too long",
    415: "Not audio, or a kind of audio that is not supported",
    422: "A parameter is invalid, or nothing in the recording decodes",
    426: "The path has a WebSocket; connect with `Upgrade: websocket`",
    429: "The API key is at its limit; retry after Retry-After seconds",
    500: "The model or the decoder failed on this recording",
    501: "The service keeps no jobs, because neither ASR_STATE_DIR nor ASR_JOBS_URL is set",
    503: "Overloaded, loading or draining; retry after Retry-After seconds",
    504: "The request took longer than ASR_REQUEST_TIMEOUT_S",
}

_OPENAI_STATUS: Mapping[type[AsrError], int] = {
    errors.InvalidParameter: 400,
    errors.UnsupportedAudio: 400,
    errors.UndecodableAudio: 400,
}
"""The statuses that differ under /v1: OpenAI answers 400 to every bad parameter and to every bad file, and its SDKs
choose the class of an error by the status."""

_OPENAI_PATHS = "/v1/"
_METHOD_NOT_ALLOWED = 405
_CHALLENGE = 'Bearer realm="asr-service"'
_NO_RETRY = {"x-should-retry": "false"}
"""For errors that a retry cannot solve. By default OpenAI's clients retry them twice, 409 too, and upload again."""

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

UNEXPECTED = "Unexpected error. The service's log has the details."


def status_of(error: AsrError, *, openai: bool = False) -> int:
    """Return the HTTP status of an error: that of its own type, or of the nearest base class.

    `openai` gives the status under /v1.
    """
    statuses = {**STATUS, **_OPENAI_STATUS} if openai else STATUS
    return next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), 500)


def problem(error: AsrError, *, openai: bool = False) -> Response:
    """Count the error in the metrics and make its response, at a path under /v1 if `openai`."""
    metrics.FAILURES.labels(error.code).inc()
    return uncounted_problem(error, openai=openai)


def uncounted_problem(error: AsrError, *, openai: bool = False) -> Response:
    """Make the response to a request that asks whether there is room, such as a probe: its refusal is no failure."""
    return _response(status_of(error, openai=openai), error.message, error.code, error.param, _headers(error))


def _headers(error: AsrError) -> Mapping[str, str]:
    match error:
        case Unavailable() | KeyLimitReached():
            return {"retry-after": str(math.ceil(error.retry_after_s))}
        case MissingKey():
            return {"www-authenticate": _CHALLENGE}
        case WrongKey():
            return {"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'}
        case errors.UpgradeRequired():
            return {"upgrade": "websocket", "connection": "upgrade"}
        case (
            errors.InferenceFailed() | errors.DecoderFailed() | errors.DeadlineExceeded() | errors.IdempotencyConflict()
        ):
            return _NO_RETRY
        case _:
            return {}


def _response(status: int, message: str, code: str, param: str | None, headers: Mapping[str, str]) -> Response:
    body = json.dumps(error_body(status, message, code, param), ensure_ascii=False)
    return Response(body, status, headers=dict(headers), media_type="application/json")


async def on_asr_error(request: Request, error: Exception) -> Response:
    """Handle AsrError for FastAPI."""
    assert isinstance(error, AsrError)  # noqa: S101 - the handler is registered for this type only
    note_failure(error)
    return problem(error, openai=request.scope["path"].startswith(_OPENAI_PATHS))


def note_failure(error: AsrError) -> None:
    """Log an error with status 500, and its cause. The log line has the request id."""
    if status_of(error) == 500:  # noqa: PLR2004
        log.error("request failed", error=repr(error), cause=repr(error.__cause__))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handle Starlette's own errors for FastAPI: an unknown path or a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this type only
    headers = dict(error.headers or {})
    if error.status_code == _METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request)  # Starlette knows those of the first route with this path only
    path = quote(request.scope["path"][:200])  # the path may contain line ends and terminal control characters
    near = difflib.get_close_matches(path, request.app.openapi()["paths"], n=1, cutoff=0.75)
    message = {
        404: f"{path} does not exist. {f'Did you mean {near[0]}?' if near else '/docs lists all paths.'}",
        405: f"Method {request.method} is not allowed for {path}; use {headers.get('Allow')}.",
    }.get(error.status_code, str(error.detail))
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    metrics.FAILURES.labels(code).inc()
    return _response(error.status_code, message, code, None, headers)


def _allowed_methods(request: Request) -> str:
    routes: Sequence[Route] = request.app.state.routes
    methods = {
        method for route in routes if route.path_regex.match(request.scope["path"]) for method in route.methods or ()
    }
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


async def on_disconnect(request: Request, _error: Exception) -> Response:
    """Handle a client that disconnects while its body is read. No client receives the response."""
    return await on_asr_error(request, ClientGone("The client disconnected during the upload."))


async def on_os_error(_request: Request, error: Exception) -> Response:
    """Handle a lack of free file descriptors, which passes when other requests end. Raises every other error."""
    if not isinstance(error, OSError) or error.errno not in _NO_DESCRIPTORS:
        raise error
    log.error("a request is refused: there are no free file descriptors", error=repr(error))
    return problem(Unavailable("The service has too many files open at the moment. Try again later."))


async def on_crash(_request: Request, _error: Exception) -> Response:
    """Handle an unexpected exception. RequestLog logs the traceback; the response gives no details."""
    metrics.FAILURES.labels("internal_error").inc()
    return _response(500, UNEXPECTED, "internal_error", None, {})
