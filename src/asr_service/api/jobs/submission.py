"""Accepts a job: reads its form, checks it, and stores it."""

from dataclasses import replace

from starlette.requests import Request

from asr_service.access.usage import KeyUsage
from asr_service.api.admission import received
from asr_service.api.cache_header import note_outcome
from asr_service.api.idempotency import Reservation, content_digest, scope_of
from asr_service.api.jobs.schemas import JobForm, parse_metadata
from asr_service.api.middleware.authentication import key_of
from asr_service.api.native.parameters import chosen_format, needs_word_times, once
from asr_service.api.native.schemas import OutputParameters
from asr_service.api.upload import Fields
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import SlotEngine
from asr_service.errors import InvalidParameter
from asr_service.jobs.records import Idempotency, JobPriority, JobSpec
from asr_service.jobs.running.slot_executor import job_result_key
from asr_service.jobs.service import Jobs
from asr_service.jobs.store import Created
from asr_service.results.cache import CacheOutcome
from asr_service.results.opening import Results
from asr_service.settings import Settings
from asr_service.tracing import current_traceparent
from asr_service.transcript import Transcript
from asr_service.validation import check_fields
from asr_service.webhooks.configuration import webhook_configuration
from asr_service.webhooks.targets import TargetRefused, check_target


async def submit(request: Request, jobs: Jobs, owner: str) -> Created:
    """Receive and accept a job. Raises AsrError."""
    engine: SlotEngine = request.app.state.engine
    usage: KeyUsage = request.app.state.key_usage
    scope = scope_of(request)
    if scope is None or await jobs.call(jobs.store.find_replay, owner, scope.value) is None:
        await jobs.check_limits(owner)
    model = engine.loaded_model
    await usage.check_audio(key_of(request.scope))
    # A job does not mind a long queue.
    joins = Reservation(adds_work=False)
    async with received(request, lambda fields: read_spec(fields, engine.settings, model), joins) as admitted:
        upload = admitted.upload
        spec = read_spec(upload.fields, engine.settings, model)
        spec = replace(spec, recording_sha256=upload.sha256.hex())
        await _check_webhook(spec.webhook_url, engine.settings)
        idempotency = None
        if scope is not None:
            idempotency = Idempotency(scope.value, content_digest(upload))
        options = resolve_options(spec.options, engine.settings, model)
        audio_s = await engine.transcriber.probe(upload.file, options)  # a file that is no recording is refused now
        transcript = await _cached(request, job_result_key(engine, upload.sha256.hex(), options, owner))
        return await jobs.submit(owner, spec, upload.file, idempotency, audio_s, transcript)


async def _cached(request: Request, key: str) -> Transcript | None:
    """Return the transcript of an equal request or job, if it is stored."""
    results: Results | None = request.app.state.results
    if results is None:
        return None
    transcript = await results.cache.find(key)
    note_outcome(request.scope, CacheOutcome.MISS if transcript is None else CacheOutcome.HIT)
    return transcript


def read_spec(fields: Fields, settings: Settings, model: SpeechModel) -> JobSpec:
    """Read the fields of POST /jobs, and check them against the model. Raises InvalidParameter, MalformedRequest."""
    given = once(fields)
    form = check_fields(JobForm, given)
    chosen_format(form)
    options = RequestOptions(**form.model_dump(include=set(RequestOptions.model_fields), exclude_none=True))
    if options.word_timestamps is None and needs_word_times(form, form.task or "transcribe"):
        options = options.model_copy(update={"word_timestamps": True})
    resolve_options(options, settings, model)
    return JobSpec(
        options=options,
        output={name: given[name] for name in OutputParameters.model_fields if name in given},
        metadata={} if form.metadata is None else parse_metadata(form.metadata),
        priority=JobPriority(form.priority),
        webhook_url=form.webhook_url,
        webhook_transcript=form.webhook_transcript,
        traceparent=current_traceparent(),
    )


async def _check_webhook(url: str | None, settings: Settings) -> None:
    """Raise InvalidParameter if the service sends no webhooks, or none to this URL."""
    if url is None:
        return
    configuration = webhook_configuration(settings)
    if not configuration.keys:
        raise InvalidParameter(
            "This service sends no webhooks. Its operator can set ASR_WEBHOOK_SECRET.", param="webhook_url"
        )
    try:
        await check_target(url, configuration.allowed)
    except TargetRefused as error:
        raise InvalidParameter(f"webhook_url is refused: {error}", param="webhook_url") from error
