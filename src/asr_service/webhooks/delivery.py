"""One attempt to deliver a message, and when the next one follows."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import anyio
import anyio.to_thread
import httpcore
import httpx

from asr_service import __version__
from asr_service.access.networks import Network
from asr_service.webhooks.events import Message
from asr_service.webhooks.signing import sign
from asr_service.webhooks.targets import CheckedBackend, TargetRefused, check_url

RETRY_DELAYS_S: Final = (0, 30, 120, 600, 3600)
"""Seconds from one attempt to the next, or from the event to the first."""
_TIMEOUT_S: Final = 10.0
_JITTER: Final = 0.1
_RANDOM: Final = random.SystemRandom()
_RETRIED_STATUSES: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class DeliveryOutcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    """The receiver answered with a status of 2xx."""
    RETRY = "retry"
    """Another attempt may succeed."""
    REJECTED = "rejected"
    """The receiver refuses the message, or its URL may not be called."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """The result of one attempt. `status` is None if there was no answer; `error` is None if it was delivered."""

    outcome: DeliveryOutcome
    status: int | None
    error: str | None
    seconds: float


def retry_delay_s(n_attempts: int) -> float | None:
    """Return the seconds until the next attempt after so many, up to 10 % more at random. None if none follows."""
    if n_attempts >= len(RETRY_DELAYS_S):
        return None
    return RETRY_DELAYS_S[n_attempts] * (1 + _RANDOM.uniform(0, _JITTER))


async def deliver(message: Message, *, keys: Sequence[bytes], allowed: Sequence[Network]) -> DeliveryAttempt:
    """Send a message once, within ten seconds.

    A redirect is not followed. The answer's body is not read. A proxy of the environment is not used.

    `keys` sign the message, `allowed` are the networks that may be called although they are not public.
    """
    start = time.monotonic()
    status: int | None = None
    problem: str | None
    try:
        with anyio.fail_after(_TIMEOUT_S):
            status = await _post(message, keys, allowed)
    except TargetRefused as refusal:
        outcome, problem = DeliveryOutcome.REJECTED, str(refusal)
    except TimeoutError:
        outcome, problem = DeliveryOutcome.RETRY, f"There was no answer within {_TIMEOUT_S:g} s."
    except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        outcome, problem = DeliveryOutcome.RETRY, str(error) or type(error).__name__
    else:
        outcome = _outcome(status)
        problem = None if outcome is DeliveryOutcome.DELIVERED else f"The receiver answered with status {status}."
    return DeliveryAttempt(outcome, status, problem, time.monotonic() - start)


async def _post(message: Message, keys: Sequence[bytes], allowed: Sequence[Network]) -> int:
    url = check_url(message.url, allowed)
    headers: dict[bytes | str, bytes | str] = {
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "content-length": str(len(message.body)),
        "user-agent": f"asr-service/{__version__}",
    }
    headers.update(sign(keys, message.id, int(time.time()), message.body).items())
    backend = CheckedBackend(allowed, secure=url.scheme == "https")
    raw_url = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    # In a thread, because it reads and parses the certificates of all authorities.
    tls = await anyio.to_thread.run_sync(httpx.create_ssl_context) if url.scheme == "https" else None
    async with (
        httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=backend) as pool,
        pool.stream("POST", raw_url, headers=headers, content=message.body) as response,
    ):
        return int(response.status)


def _outcome(status: int) -> DeliveryOutcome:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return DeliveryOutcome.DELIVERED
    retried = status in _RETRIED_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return DeliveryOutcome.RETRY if retried else DeliveryOutcome.REJECTED
