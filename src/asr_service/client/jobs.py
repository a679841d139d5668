"""Submit jobs to a service, and follow them."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import httpx

from asr_service.client.connection import TIMEOUT, opening_failures, trusting
from asr_service.client.errors import RecordingRefused, ServerUnusable
from asr_service.client.responses import error_code, read_json, response_error, transport_error
from asr_service.client.retry import RetryableError, RetryBudget

_DELAY_S: Final = 2.0
_WAIT_S: Final = 30
_JOB_CODES: Final = frozenset({"job_not_found", "no_transcript", "job_expired"})


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job as a service shows it."""

    id: str
    status: str
    audio_s_done: float
    audio_s_total: float | None
    error: str | None
    fields: Mapping[str, Any]
    """Everything that the service sent."""

    @property
    def is_open(self) -> bool:
        return self.status in {"queued", "running"}


class JobsClient:
    """The jobs of one service. Each method blocks, and waits while the service is busy or starts.

    Every method raises RecordingRefused (the service refuses this request) and ServerUnusable (it refuses every one).
    """

    def __init__(self, http: httpx.Client) -> None:
        """Use `http`, which has the base address and the API key."""
        self._http = http
        self._reached = False

    def submit(self, file: BinaryIO, fields: Mapping[str, str]) -> RemoteJob:
        """Submit a recording, once however often the connection breaks. `file` must be seekable."""
        headers = {"idempotency-key": str(uuid.uuid4())}

        def send() -> httpx.Response:
            file.seek(0)
            files = {"file": ("recording", file, "application/octet-stream")}  # the file's real name is private
            return self._http.post("/jobs", data=fields, files=files, headers=headers)

        return read_json(self._answer(send), _job)

    def get(self, job_id: str, *, wait_s: float = 0) -> RemoteJob:
        """Return a job, or wait up to `wait_s` for its end."""
        query = {"wait": wait_s} if wait_s else {}
        return read_json(self._answer(lambda: self._http.get(_path(job_id), params=query)), _job)

    def wait(self, job_id: str) -> RemoteJob:
        """Wait for the end of a job, and return it."""
        while (job := self.get(job_id, wait_s=_WAIT_S)).is_open:
            pass
        return job

    def list(self, query: Mapping[str, str]) -> Sequence[RemoteJob]:
        """Return a page of jobs, the newest first."""
        response = self._answer(lambda: self._http.get("/jobs", params=query))
        return read_json(response, lambda page: [_job(each) for each in page["data"]])

    def remove(self, job_id: str) -> RemoteJob | None:
        """Cancel an open job and return it, or delete an ended one and return None."""
        response = self._answer(lambda: self._http.delete(_path(job_id)))
        return None if response.status_code == HTTPStatus.NO_CONTENT else read_json(response, _job)

    def transcript(self, job_id: str, query: Mapping[str, str]) -> bytes:
        """Return the transcript of a job in the format that `query` asks for."""
        return self._answer(lambda: self._http.get(f"{_path(job_id)}/transcript", params=query)).content

    def _answer(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        budget = RetryBudget()
        while True:
            try:
                return self._attempt(send)
            except RetryableError as error:
                time.sleep(budget.next_delay_s(error, _DELAY_S))

    def _attempt(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            response = send()
        except httpx.TransportError as error:
            raise transport_error(self._http.base_url, error, was_reached=self._reached) from error
        self._reached = True
        if response.is_success:
            return response
        refusal = response_error(response, response.content)
        if isinstance(refusal, ServerUnusable) and error_code(response.content) in _JOB_CODES:
            raise RecordingRefused(refusal.message.removeprefix(f"{response.url}: "))
        raise refusal


@contextmanager
def connect_to_jobs(url: str, api_key: str | None, *, ca_file: Path | None = None) -> Iterator[JobsClient]:
    """Open a client of the jobs of the service at `url`. Raises ServerUnusable as `service.connect` does."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    verify = True if ca_file is None else trusting(ca_file)
    with opening_failures(url):
        http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, verify=verify)
    with http:
        yield JobsClient(http)


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _job(fields: Mapping[str, Any]) -> RemoteJob:
    progress, error = fields["progress"], fields["error"]
    return RemoteJob(
        id=fields["id"],
        status=fields["status"],
        audio_s_done=progress["audio_s_done"],
        audio_s_total=progress["audio_s_total"],
        error=error and error["message"],
        fields=fields,
    )
