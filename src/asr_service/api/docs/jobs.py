"""The OpenAPI documentation of /jobs."""

from typing import Any

from asr_service.api.docs.openapi import (
    IDEMPOTENCY,
    error_responses,
    query_parameters,
    recording_body,
    transcripts,
    without_null,
)
from asr_service.api.jobs.schemas import JobForm, JobResponse, ListParameters, WaitParameters
from asr_service.api.native.schemas import OutputParameters
from asr_service.formats import FORMATS

_JOB_ID = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The `id` of the job.",
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    "description": "The `id` of the last event that was received. Segments up to it are left out.",
}


def submission_documentation() -> dict[str, Any]:
    """Return the keyword arguments of the route that accepts jobs."""
    return {
        "summary": "Transcribe a recording as a job",
        "operation_id": "submit_job",
        "status_code": 202,
        "response_model": JobResponse,
        "responses": {
            202: {"description": "The job is accepted; `Location` is its path"},
            **error_responses(400, 401, 408, 409, 413, 415, 422, 429, 501, 503),
        },
        "openapi_extra": recording_body(without_null(JobForm), IDEMPOTENCY),
    }


def path_documentation(*more: dict[str, Any]) -> dict[str, Any]:
    """Document the job of the path, and further parameters."""
    return {"parameters": [_JOB_ID, *more]}


def events_documentation() -> dict[str, Any]:
    """Return the keyword arguments of the route that streams events."""
    return {
        "summary": "Follow a job",
        "description": "Server-sent events: `job` with the job when it changes, `segment` with a segment as soon as it "
        "is known. The stream ends after the event of the job's end. If it ends earlier, connect again with "
        "`Last-Event-ID`.",
        "operation_id": "follow_job",
        "responses": {
            200: {"description": "The events", "content": {"text/event-stream": {}}},
            **error_responses(401, 404, 501, 503),
        },
        "openapi_extra": path_documentation(_LAST_EVENT_ID),
    }


def transcript_documentation() -> dict[str, Any]:
    """Return the keyword arguments of the route that returns transcripts."""
    return {
        "summary": "Get the transcript of a job, in any format",
        "description": "Any number of times. Without `response_format` it has the format and layout that the job was "
        "submitted with.",
        "operation_id": "get_job_transcript",
        "responses": {
            200: transcripts(FORMATS.values(), json=True),
            **error_responses(400, 401, 404, 409, 410, 422, 501, 503),
        },
        "openapi_extra": path_documentation(*query_parameters(OutputParameters, no_default="response_format")),
    }


LIST_DOCUMENTATION = {"parameters": query_parameters(ListParameters)}
WAIT_DOCUMENTATION = path_documentation(*query_parameters(WaitParameters))
