"""The request fields and response bodies of /jobs."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import from_json

from asr_service.api.docs import examples
from asr_service.api.native.schemas import TranscribeParameters
from asr_service.jobs.records import Delivery, Job, is_job_id
from asr_service.jobs.times import MAX_WAIT_S
from asr_service.validation import TextFields

_MAX_PAIRS, _MAX_NAME, _MAX_VALUE = 16, 64, 512
Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]


def parse_metadata(text: str) -> dict[str, str]:
    """Parse the field `metadata`. Raises ValueError: it is not an object of a few short strings."""
    problem = ValueError(
        f"expected a JSON object of up to {_MAX_PAIRS} strings, with names of at most {_MAX_NAME} and values of at "
        f"most {_MAX_VALUE} characters"
    )
    try:
        pairs = from_json(text)  # it refuses half a surrogate pair, which no answer can contain
    except ValueError:
        raise problem from None
    if not isinstance(pairs, dict) or len(pairs) > _MAX_PAIRS:
        raise problem
    if any(not isinstance(each, str) or len(each) > _MAX_VALUE for each in pairs.values()):
        raise problem
    if any(len(name) > _MAX_NAME for name in pairs):
        raise problem
    return pairs


def _check_metadata(text: str) -> str:
    parse_metadata(text)
    return text


def _check_cursor(text: str) -> str:
    if not is_job_id(text):
        raise ValueError("expected the last_id of the page before, which is the id of a job")
    return text


class JobForm(TranscribeParameters):
    """Fields of POST /jobs: the options of /transcribe, and those of the job."""

    webhook_url: Annotated[str, Field(max_length=2048)] | None = None
    """URL that gets a signed event when the job has ended."""
    webhook_transcript: bool = False
    """Put the transcript into the event, as JSON, not only the job's id."""
    metadata: Annotated[str, AfterValidator(_check_metadata)] | None = None
    """Notes of your own, given back unread: a JSON object of up to 16 strings."""
    priority: Literal["normal", "low"] = "normal"
    """A job of priority `low` starts when no normal job waits."""


class WaitParameters(TextFields):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_S)] = 0
    """Seconds to wait for the end of the job. The response is the job as it is then."""


class ListParameters(TextFields):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    status: Status | None = None
    """List only jobs in this state."""
    after: Annotated[str, AfterValidator(_check_cursor)] | None = None
    """Id of the last job of the page before: `last_id`."""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Maximum number of jobs."""


class JobProgress(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    audio_s_done: float
    """Seconds of the recording up to the end of the last known segment."""
    audio_s_total: float | None
    """Length of the recording; null until it is known, an estimate until the job has succeeded."""


class JobFailure(BaseModel):
    code: str
    message: str


class JobDelivery(BaseModel):
    """An event for the job's webhook."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """The header `webhook-id`, the same in every attempt."""
    type: Literal["transcription.job.succeeded", "transcription.job.failed", "transcription.job.cancelled"]
    attempts: int
    delivered_at: float | None
    next_attempt_at: float | None
    """null once it is delivered or given up."""
    last_status: int | None
    """HTTP status of the last attempt; null without an answer."""
    last_error: str | None


class JobLinks(BaseModel):
    self: str
    events: str
    transcript: str


class JobResponse(BaseModel):
    """A job. Times are seconds since the epoch."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=examples.example_of(examples.JOB))

    id: str
    object: Literal["transcription.job"]
    status: Status
    created_at: float
    started_at: float | None
    """When it was started first."""
    finished_at: float | None
    expires_at: float | None
    """When the transcript is deleted; null until the job has ended."""
    progress: JobProgress
    attempts: int
    metadata: dict[str, str]
    error: JobFailure | None
    """Why the job failed, or why its last attempt did."""
    deliveries: list[JobDelivery] | None = None
    """The events for `webhook_url`; null in lists."""
    links: JobLinks


class JobListResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["list"]
    data: list[JobResponse]
    """The newest first."""
    first_id: str | None
    last_id: str | None
    has_more: bool


def job_response(job: Job, prefix: str, deliveries: Sequence[Delivery] | None = None) -> JobResponse:
    """Return a job as the API shows it. `prefix` is the public path of the service."""
    path = f"{prefix}/jobs/{job.id}"
    return JobResponse(
        id=job.id,
        object="transcription.job",
        status=job.status.value,
        created_at=round(job.created_at, 3),
        started_at=_rounded(job.started_at),
        finished_at=_rounded(job.finished_at),
        expires_at=_rounded(job.expires_at),
        progress=JobProgress(audio_s_done=round(job.audio_s_done, 3), audio_s_total=_rounded(job.audio_s_total)),
        attempts=job.attempts,
        metadata=dict(job.spec.metadata),
        error=JobFailure(code=job.error.code, message=job.error.message) if job.error else None,
        deliveries=None if deliveries is None else [_delivery(each) for each in deliveries],
        links=JobLinks(self=path, events=f"{path}/events", transcript=f"{path}/transcript"),
    )


def _delivery(delivery: Delivery) -> JobDelivery:
    return JobDelivery(
        id=delivery.id,
        type=delivery.event.value,
        attempts=delivery.attempts,
        delivered_at=_rounded(delivery.delivered_at),
        next_attempt_at=_rounded(delivery.due_at),
        last_status=delivery.last_status,
        last_error=delivery.last_error,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
