"""Send recordings to a service over HTTP and read its NDJSON stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

import httpx

from asr_service.client.as_job import JobTranscriber
from asr_service.client.connection import TIMEOUT, opening_failures, trusting
from asr_service.client.errors import RecordingRefused
from asr_service.client.ndjson import NdjsonReader, StreamFailed
from asr_service.client.responses import another_program, response_error, transport_error
from asr_service.client.retry import RetryableError, RetryBudget
from asr_service.transcript import Segment, Transcript

_DEFAULT_DELAY_S: Final = 2.0
_RETRYABLE_CODES: Final = frozenset({"overloaded", "not_ready", "engine_stopped", "unavailable"})


class ServiceClient:
    """Transcribes recordings with one service. Several calls may run at the same time."""

    def __init__(self, http: httpx.AsyncClient, *, delay_s: float) -> None:
        """Use `http`, which has the base address and the API key. `delay_s` as in `connect`."""
        self._http = http
        self._delay_s = delay_s
        self._reached = False

    async def transcribe(self, file: BinaryIO, fields: Mapping[str, str]) -> AsyncGenerator[Segment | Transcript]:
        """Yield Segments as the service sends them, then the Transcript. `fields` are the request's form fields.

        If the service is busy or the response breaks off, the recording is sent again from its start. Segments can then
        appear twice; the Transcript has each once. `file` must be seekable.

        Raises RecordingRefused: the service cannot transcribe this recording, or the retries are spent.
        Raises ServerUnusable: no recording can be transcribed at this address.
        """
        budget = RetryBudget()
        while True:
            try:
                async with aclosing(self._attempt(file, fields)) as events:
                    async for event in events:
                        yield event
            except RetryableError as error:
                await asyncio.sleep(budget.next_delay_s(error, self._delay_s))
            else:
                return

    async def _attempt(self, file: BinaryIO, fields: Mapping[str, str]) -> AsyncGenerator[Segment | Transcript]:
        file.seek(0)
        data = {**fields, "response_format": "ndjson"}
        # The file's real name is private and is not sent.
        files = {"file": ("recording", file, "application/octet-stream")}
        try:
            async with self._http.stream("POST", "/transcribe", data=data, files=files) as response:
                self._reached = True
                if response.status_code != HTTPStatus.OK:
                    raise response_error(response, await response.aread())
                async with aclosing(_read(response)) as events:
                    async for event in events:
                        yield event
        except httpx.TransportError as error:
            raise transport_error(self._http.base_url, error, was_reached=self._reached) from error


@asynccontextmanager
async def connect(
    url: str,
    api_key: str | None,
    *,
    delay_s: float = _DEFAULT_DELAY_S,
    ca_file: Path | None = None,
    as_jobs: bool = False,
) -> AsyncIterator[ServiceClient | JobTranscriber]:
    """Open a client of the service at `url`. `as_jobs` makes each recording a job.

    `delay_s` is the pause before a retry if the service sends no Retry-After. `ca_file` has the certificates, in PEM
    format, of authorities to trust in addition to the usual ones.

    Raises ServerUnusable: `ca_file` cannot be read or has no certificate, or a proxy of the environment cannot be used.
    """
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    limits = httpx.Limits(max_connections=None)
    verify = True if ca_file is None else trusting(ca_file)
    with opening_failures(url):
        http = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT, limits=limits, verify=verify)
    async with http:
        yield JobTranscriber(http, delay_s=delay_s) if as_jobs else ServiceClient(http, delay_s=delay_s)


async def _read(response: httpx.Response) -> AsyncGenerator[Segment | Transcript]:
    """Yield what the lines of a response hold. Raises RetryableError if the last line is missing."""
    reader = NdjsonReader()
    event: Segment | Transcript | None = None
    try:
        async for line in response.aiter_lines():
            event = reader.read(line) if line else None
            if event is not None:
                yield event
    except StreamFailed as error:
        failure = RecordingRefused(error.message)
        raise RetryableError(failure, interrupted=True) if error.code in _RETRYABLE_CODES else failure from error
    except ValueError as error:
        raise another_program(response.url, error) from error
    if not isinstance(event, Transcript):
        raise RetryableError(
            RecordingRefused("The response ended before the transcript was complete."), interrupted=True
        )
