"""The routes of /jobs."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asr_service.api.docs.jobs import (
    LIST_DOCUMENTATION,
    WAIT_DOCUMENTATION,
    events_documentation,
    path_documentation,
    submission_documentation,
    transcript_documentation,
)
from asr_service.api.docs.openapi import error_responses
from asr_service.api.handler import layout_turn, render
from asr_service.api.jobs.events import job_events
from asr_service.api.jobs.schemas import (
    JobListResponse,
    JobResponse,
    ListParameters,
    WaitParameters,
    job_response,
)
from asr_service.api.jobs.submission import submit
from asr_service.api.middleware.authentication import owner_of
from asr_service.api.native.parameters import chosen_format, once, parse_parameters
from asr_service.api.native.schemas import OutputParameters
from asr_service.api.public_prefix import public_prefix
from asr_service.api.streaming import StreamedResponse
from asr_service.api.warning_header import add_warnings
from asr_service.engine.slot import SlotEngine
from asr_service.errors import JobsDisabled
from asr_service.formats import FORMATS
from asr_service.jobs.records import JobStatus
from asr_service.jobs.service import Jobs
from asr_service.validation import check_fields

router = APIRouter(tags=["Jobs"])


@router.post("/jobs", **submission_documentation())
async def submit_job(request: Request) -> Response:
    created = await submit(request, _jobs(request), owner_of(request.scope))
    body = job_response(created.job, public_prefix(request))
    headers = {"location": body.links.self}
    if created.is_replayed:
        headers["idempotent-replayed"] = "true"
    return JSONResponse(body.model_dump(), 202, headers=headers)


@router.get(
    "/jobs",
    summary="List the jobs of this API key",
    description="The newest first. `last_id` of a page is `after` of the next.",
    operation_id="list_jobs",
    response_model=JobListResponse,
    responses=error_responses(400, 401, 422, 501, 503),
    openapi_extra=LIST_DOCUMENTATION,
)
async def list_jobs(request: Request) -> JobListResponse:
    jobs, prefix = _jobs(request), public_prefix(request)
    asked = check_fields(ListParameters, once(request.query_params.multi_items()))
    status = None if asked.status is None else JobStatus(asked.status)
    found = await jobs.call(
        jobs.store.list, owner_of(request.scope), status=status, after=asked.after, limit=asked.limit + 1
    )
    page = [job_response(job, prefix) for job in found[: asked.limit]]
    return JobListResponse(
        object="list",
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > asked.limit,
    )


@router.get(
    "/jobs/{job_id}",
    summary="Look at a job, or wait for its end",
    description="Without `wait`, the response comes at once.",
    operation_id="get_job",
    response_model=JobResponse,
    responses=error_responses(400, 401, 404, 422, 501, 503),
    openapi_extra=WAIT_DOCUMENTATION,
)
async def get_job(request: Request) -> JobResponse:
    asked = check_fields(WaitParameters, once(request.query_params.multi_items()))
    jobs = _jobs(request)
    job = await jobs.wait(owner_of(request.scope), _job_id(request), asked.wait)
    return job_response(job, public_prefix(request), await jobs.deliveries(job))


@router.delete(
    "/jobs/{job_id}",
    summary="Cancel a job, or delete one that has ended",
    description="A waiting or running job ends as `cancelled`, and is the response. An ended job is deleted with its "
    "transcript, and the response is empty.",
    operation_id="delete_job",
    response_model=JobResponse,
    responses={204: {"description": "The job was deleted"}, **error_responses(401, 404, 501, 503)},
    openapi_extra=path_documentation(),
)
async def delete_job(request: Request) -> Response:
    cancelled = await _jobs(request).remove(owner_of(request.scope), _job_id(request))
    if cancelled is None:
        return Response(status_code=204)
    return JSONResponse(job_response(cancelled, public_prefix(request)).model_dump())


@router.get("/jobs/{job_id}/events", **events_documentation())
async def follow_job(request: Request) -> Response:
    jobs, owner, job_id = _jobs(request), owner_of(request.scope), _job_id(request)
    await jobs.get(owner, job_id)
    seen = request.headers.get("last-event-id", "")
    start = int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 10 else 0  # noqa: PLR2004
    events = job_events(jobs, owner, job_id, start, public_prefix(request))
    engine: SlotEngine = request.app.state.engine
    return StreamedResponse(
        events,
        resources=AsyncExitStack(),
        media_type="text/event-stream; charset=utf-8",
        send_timeout_s=engine.settings.request_timeout_s,
    )


@router.get("/jobs/{job_id}/transcript", **transcript_documentation())
async def get_transcript(request: Request) -> Response:
    jobs, owner, job_id = _jobs(request), owner_of(request.scope), _job_id(request)
    asked = once(request.query_params.multi_items())
    check_fields(OutputParameters, asked)
    job = await jobs.get(owner, job_id)
    fmt = chosen_format(parse_parameters(tuple(_with_defaults(asked, job.spec.output).items())))
    async with layout_turn(request):
        transcript = await jobs.transcript(owner, job_id)
        response = Response(await asyncio.to_thread(render, fmt, transcript), media_type=fmt.media_type)
    add_warnings(response, transcript.warnings)
    return response


def _with_defaults(asked: Mapping[str, str], submitted: Mapping[str, str]) -> Mapping[str, str]:
    """Complete the format and layout that a request asks for by those of the job's submission."""
    asked_format = asked.get("response_format", submitted.get("response_format", "json"))
    if FORMATS[asked_format].styled is None and "response_format" in asked:
        return asked  # it has no layout
    defaults = dict(submitted)
    if asked_format != "vtt":
        defaults.pop("highlight_words", None)  # no other format has it
    return {**defaults, **asked}


def _jobs(request: Request) -> Jobs:
    jobs: Jobs | None = request.app.state.jobs
    if jobs is None:
        raise JobsDisabled(
            "This service keeps no jobs. Its operator can set ASR_STATE_DIR, or ASR_JOBS_URL for several machines."
        )
    return jobs


def _job_id(request: Request) -> str:
    # The handlers read the parameters themselves: FastAPI would document a 422 of its own.
    job_id: str = request.path_params["job_id"]
    return job_id
