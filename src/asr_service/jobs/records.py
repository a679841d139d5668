"""The records of jobs and of their webhooks: frozen dataclasses, the same for every store."""

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from asr_service.engine.request_options import RequestOptions
from asr_service.webhooks.events import EventType

MAX_ATTEMPTS = 3
"""Maximum number of attempts at a job."""
_JOB_ID: Final = re.compile(r"job_[0-9a-f]{32}")


class JobStatus(StrEnum):
    """The state of a job, as the API shows it."""

    QUEUED = "queued"
    """The job waits for its first attempt, or for the next one after a failure."""
    RUNNING = "running"
    """A runner holds its lease."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """The job has ended, and its transcript was deleted after the retention time."""


OPEN = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
"""The states of a job that has not ended."""


class JobPriority(StrEnum):
    NORMAL = "normal"
    LOW = "low"
    """The job starts when no normal job waits."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """The options and fields of a submission."""

    options: RequestOptions
    """As they were sent. A runner completes them with its settings and its model."""
    output: Mapping[str, str] = field(default_factory=dict)
    """`response_format` and the layout of subtitles, as they were sent: the defaults of the transcript's format."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Notes of the caller. The service returns them unchanged."""
    priority: JobPriority = JobPriority.NORMAL
    webhook_url: str | None = None
    """URL that gets an event when the job has ended."""
    webhook_transcript: bool = False
    """Whether the event of a job that has succeeded has the transcript."""
    recording_sha256: str | None = None
    """Digest of the recording, in hexadecimal."""
    traceparent: str | None = None
    """The span of the request that submitted the job."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: the code and message that a request would have got."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The Idempotency-Key that a job was submitted with."""

    key: str
    digest: bytes
    """A hash of the recording and the fields. A request with the same key and another digest is refused."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job that has one from the beginning. Its transcript is stored already."""

    audio_s: float
    result_bytes: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be created. Its audio is stored already, or its transcript if it has a `result`."""

    id: str
    owner: str
    spec: JobSpec
    audio_bytes: int
    audio_s: float | None = None
    """Estimated length; None if it is not known."""
    idempotency: Idempotency | None = None
    result: JobResult | None = None
    """Set for a job that has succeeded when it is created."""


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """The maximum that one owner may have in the store."""

    waiting_jobs: int
    stored_bytes: int
    kept_jobs: int = 1_000_000
    """Records of jobs in any state, expired ones too."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job's record. Times are seconds since the epoch."""

    id: str
    """Ids sort by the time of creation."""
    owner: str
    """The name of the API key that created it; empty without keys."""
    spec: JobSpec
    status: JobStatus
    created_at: float
    started_at: float | None = None
    """When the first attempt began."""
    finished_at: float | None = None
    expires_at: float | None = None
    """When the transcript of an ended job is deleted."""
    attempts: int = 0
    """Number of attempts. An attempt that a draining runner interrupts does not count."""
    audio_s_done: float = 0.0
    audio_s_total: float | None = None
    """None until the recording's length is known, or estimated from its header."""
    audio_bytes: int = 0
    error: JobError | None = None
    resume_key: str | None = None
    """Hash of everything that the stored segments depend on. A runner with another key does not use them."""
    is_newer: bool = False
    """Whether this version of the service cannot run the job, because a newer one has accepted it."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a runner has leased, and the token of the lease. Changes with any other token have no effect."""

    job: Job
    token: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event for a job's webhook. It is written in the transaction that ended the job."""

    id: str
    job_id: str
    url: str
    event: EventType
    created_at: float
    due_at: float | None
    """When the next attempt is due; None if there is none."""
    attempts: int = 0
    delivered_at: float | None = None
    last_status: int | None = None
    """HTTP status of the last attempt; None without an answer."""
    last_error: str | None = None


def new_job_id(now: float | None = None) -> str:
    """Return an id that cannot be guessed, and that sorts after those of earlier milliseconds."""
    return f"job_{round((time.time() if now is None else now) * 1000):012x}{secrets.token_hex(10)}"


def is_job_id(text: str) -> bool:
    """Return whether the text has the form of an id, of a job that exists or of one that does not."""
    return _JOB_ID.fullmatch(text) is not None


def new_delivery_id() -> str:
    return f"evt_{secrets.token_hex(16)}"
