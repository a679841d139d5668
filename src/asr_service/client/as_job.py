"""Transcribe recordings as jobs of a service."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, BinaryIO, Final

import httpx

from asr_service.client.connection import connect_failure
from asr_service.client.errors import RecordingRefused
from asr_service.client.ndjson import NdjsonReader
from asr_service.client.responses import another_program, read_json, response_error
from asr_service.client.retry import RetryableError, RetryBudget
from asr_service.transcript import Segment, Transcript

_READ_BYTES: Final = 1024 * 1024
_OPEN: Final = frozenset({"queued", "running"})


class JobTranscriber:
    """Transcribes recordings as `ServiceClient` does, but a lost connection or a restart of the service loses no work.

    The same recording with the same fields is the same job: a repeated command continues with it.
    """

    def __init__(self, http: httpx.AsyncClient, *, delay_s: float) -> None:
        """Use `http`, which has the base address and the API key. `delay_s` is the pause before a retry."""
        self._http = http
        self._delay_s = delay_s
        self._reached = False

    async def transcribe(self, file: BinaryIO, fields: Mapping[str, str]) -> AsyncGenerator[Segment | Transcript]:
        """Submit the recording, and yield Segments as they become known, then the Transcript.

        Raises RecordingRefused: the job has failed, or the retries are spent.
        Raises ServerUnusable: the service has no jobs, or cannot be used.
        """
        budget, reader = RetryBudget(), NdjsonReader()
        job_id, n_seen = None, 0
        while True:
            try:
                job_id = job_id or await self._submit(file, fields)
                async with aclosing(self._follow(job_id, n_seen)) as lines:
                    async for line in lines:
                        budget = RetryBudget()
                        event = None if line is None else reader.read(line)
                        if event is not None:
                            n_seen += 1
                            yield event
                yield await self._fetch(job_id)
            except RetryableError as error:
                await asyncio.sleep(budget.next_delay_s(error, self._delay_s))
            except ValueError as error:
                raise another_program(self._http.base_url, error) from error
            else:
                return

    async def _submit(self, file: BinaryIO, fields: Mapping[str, str]) -> str:
        """Submit the recording and return the job's id. An earlier job that did not succeed is replaced."""
        key = await asyncio.to_thread(_key, file, fields)
        response = await self._post(file, fields, key)
        job_id, status = read_json(response, _id_and_status)
        if "idempotent-replayed" in response.headers and status not in {*_OPEN, "succeeded"}:
            await self._request("DELETE", f"/jobs/{job_id}")
            job_id, _ = read_json(await self._post(file, fields, key), _id_and_status)
        return job_id

    async def _post(self, file: BinaryIO, fields: Mapping[str, str], key: str) -> httpx.Response:
        file.seek(0)
        files = {"file": ("recording", file, "application/octet-stream")}  # the file's real name is private
        return await self._request("POST", "/jobs", data=fields, files=files, headers={"idempotency-key": key})

    async def _fetch(self, job_id: str) -> Transcript:
        response = await self._request("GET", f"/jobs/{job_id}/transcript", params={"response_format": "ndjson"})
        reader = NdjsonReader()
        *_, last = [None, *map(reader.read, response.text.splitlines())]
        if not isinstance(last, Transcript):
            raise another_program(response.url, "there is no transcript.")
        return last

    async def _follow(self, job_id: str, n_seen: int) -> AsyncGenerator[str | None]:
        """Yield the lines of new segments, and None for each state of the job, until it has succeeded.

        Raises RetryableError: the job has not ended yet.
        Raises ServerUnusable: another program answers at this address.
        """
        headers, event, status = {"last-event-id": str(n_seen)}, "", "queued"
        try:
            async with self._http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response:
                if response.status_code != HTTPStatus.OK:
                    raise response_error(response, await response.aread())
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise another_program(response.url, "the answer is not a stream of events.")
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data" and event == "segment":
                        yield value
                    elif name == "data" and event == "job":
                        status = _status(json.loads(value))
                        yield None
        except httpx.TransportError as error:
            raise self._lost(error) from error
        if status in _OPEN:
            raise RetryableError(RecordingRefused("The service has not finished the job."))

    async def _request(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **given)
        except httpx.TransportError as error:
            failure = self._lost(error)
            raise failure if self._reached else failure.failure from error
        self._reached = True
        if not response.is_success:
            raise response_error(response, response.content)
        return response

    def _lost(self, error: httpx.TransportError) -> RetryableError:
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return RetryableError(connect_failure(self._http.base_url, error))
        return RetryableError(RecordingRefused(f"The connection was lost: {error!r}"))


def _id_and_status(job: Mapping[str, Any]) -> tuple[str, str]:
    return str(job["id"]), str(job["status"])


def _status(job: Mapping[str, Any]) -> str:
    """Return the state of a job. Raises RecordingRefused: it has ended without a transcript."""
    if job["status"] in {*_OPEN, "succeeded"}:
        return str(job["status"])
    raise RecordingRefused(job["error"]["message"] if job["error"] else f"The job is {job['status']}.")


def _key(file: BinaryIO, fields: Mapping[str, str]) -> str:
    file.seek(0)
    digest = hashlib.sha256(json.dumps(sorted(fields.items())).encode())
    while part := file.read(_READ_BYTES):
        digest.update(part)
    return f"recording-{digest.hexdigest()}"
