"""Converts error responses of the service or of a proxy in front of it, and missing ones, to errors for the caller."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx

from asr_service.client.connection import connect_failure
from asr_service.client.errors import ApiKeyRejected, RecordingRefused, ServerUnusable
from asr_service.client.retry import RetryableError

_MIN_DELAY_S: Final = 0.1
_MAX_DELAY_S: Final = 120.0
_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_INTERRUPTED: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
_UNUSABLE: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.NOT_IMPLEMENTED})

Content = TypeVar("Content")


def response_error(response: httpx.Response, body: bytes) -> Exception:
    """Return the error to raise for a response whose status is not 200."""
    message = error_message(response, body)
    if response.status_code in _BUSY:
        return RetryableError(RecordingRefused(message), retry_after_s=retry_after_s(response))
    # The service sends x-should-retry: false with a 504 when it has used up the request's time; a proxy does not.
    if response.status_code in _INTERRUPTED and response.headers.get("x-should-retry") != "false":
        return RetryableError(RecordingRefused(message), interrupted=True)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        return ApiKeyRejected(f"{response.url}: {message}")
    if response.status_code in _UNUSABLE or response.is_redirect:
        return ServerUnusable(f"{response.url}: {message}")
    return RecordingRefused(message)


def transport_error(url: httpx.URL, error: httpx.TransportError, *, was_reached: bool) -> Exception:
    """Return the error to raise if there is no whole response. `was_reached`: the service has answered before."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        failure = connect_failure(url, error)
        return RetryableError(failure) if was_reached else failure
    return RetryableError(RecordingRefused(f"The connection was lost: {error!r}"), interrupted=True)


def another_program(url: httpx.URL, reason: object) -> ServerUnusable:
    """Return the error to raise if another program answers at this address."""
    return ServerUnusable(f"{url} does not answer as this service does: {reason}")


def read_json(response: httpx.Response, read: Callable[[Any], Content]) -> Content:
    """Return `read` of the response's JSON. Raises ServerUnusable: another program answers at this address."""
    try:
        return read(response.json())
    except (ValueError, KeyError, TypeError) as error:
        raise another_program(response.url, "the answer is not the JSON that this service sends.") from error


def error_code(body: bytes) -> str | None:
    """Return the code of the service's error; None if a proxy answered."""
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


def error_message(response: httpx.Response, body: bytes) -> str:
    """Return the service's error message, or the status if a proxy answered."""
    if response.is_redirect:
        return f"The address redirects to {response.headers.get('location')}. Use that address."
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"


def retry_after_s(response: httpx.Response) -> float | None:
    """Return Retry-After in seconds. None if it is missing, or a date, which this service never sends."""
    value = response.headers.get("retry-after", "")
    return min(max(float(value), _MIN_DELAY_S), _MAX_DELAY_S) if value.isdecimal() else None
