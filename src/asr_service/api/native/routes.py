"""The routes of the service's own API: /transcribe, /translate, /detect-language and /languages."""

import time
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from asr_service.api.admission import Received
from asr_service.api.docs.openapi import (
    detection_documentation,
    error_responses,
    format_documentation,
    transcribe_documentation,
)
from asr_service.api.handler import TranscriptionRequest, handle_transcription, handle_upload
from asr_service.api.middleware.authentication import caller_of
from asr_service.api.native.formatting import format_transcript
from asr_service.api.native.parameters import chosen_format, needs_word_times, once, parse_parameters
from asr_service.api.native.schemas import (
    DetectionResponse,
    DetectParameters,
    LanguageSchema,
    LanguagesResponse,
)
from asr_service.api.upload import Fields
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.vocabulary import known_languages
from asr_service.engine.options import DecodingOptions, Task
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import SlotEngine
from asr_service.errors import InvalidParameter
from asr_service.languages import LANGUAGES
from asr_service.settings import Settings
from asr_service.transcript import Detection
from asr_service.validation import check_fields

router = APIRouter(tags=["Speech"])


@router.post("/transcribe", **transcribe_documentation("Transcribe a recording", "transcribe"))
async def transcribe(request: Request) -> Response:
    return await handle_transcription(request, lambda *given: _transcription("transcribe", *given))


@router.post("/translate", **transcribe_documentation("Translate a recording into English", "translate"))
async def translate(request: Request) -> Response:
    return await handle_transcription(request, lambda *given: _transcription("translate", *given))


def _transcription(task: Task, fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    parameters = parse_parameters(fields)
    if task == "translate" and parameters.task == "transcribe":
        raise InvalidParameter("task=transcribe is not valid at /translate. Use /transcribe.", param="task")
    time_words = needs_word_times(parameters, parameters.task or task)
    options = resolve_options(parameters, settings, model, default_task=task, time_words=time_words)
    return TranscriptionRequest(options, chosen_format(parameters))


@router.post("/detect-language", **detection_documentation())
async def detect_language(request: Request) -> DetectionResponse:
    engine: SlotEngine = request.app.state.engine

    async def detect(admitted: Received, transcriber: Transcriber) -> Detection:
        options = _detection_options(admitted.upload.fields, engine.settings, engine.loaded_model)
        return await transcriber.detect_language(
            admitted.upload.file,
            options,
            deadline=time.monotonic() + engine.settings.request_timeout_s,
            on_audio=admitted.meter.charge,
            caller=caller_of(request.scope),
        )

    return _detection(await handle_upload(request, detect), engine.loaded_model)


def _detection_options(fields: Fields, settings: Settings, model: SpeechModel) -> DecodingOptions:
    parameters = check_fields(DetectParameters, once(fields))
    options = resolve_options(RequestOptions(**parameters.model_dump()), settings, model)
    return replace(options, language=None, language_per_chunk=False)


def _detection(detection: Detection, model: SpeechModel) -> DetectionResponse:
    code, probability = next(iter(detection.probabilities), (None, None))
    return DetectionResponse(
        language=code,
        name=LANGUAGES.get(code) if code else None,
        probability=round(probability, 4) if probability is not None else None,
        probabilities={each: round(share, 4) for each, share in detection.probabilities},
        start=round(detection.start, 3) if detection.start is not None else None,
        end=round(detection.end, 3) if detection.end is not None else None,
        model=model.facts.name,
    )


@router.post("/format", **format_documentation())
async def write_format(request: Request) -> Response:
    return await format_transcript(request)


@router.get(
    "/languages",
    summary="List Whisper's languages, and which of them the loaded model knows",
    description="The option `language` accepts these codes and names, codes of ISO 639-2 and 639-3, and own names.",
    operation_id="list_languages",
    response_model=LanguagesResponse,
    responses=error_responses(401, 503),
)
async def list_languages(request: Request) -> LanguagesResponse:
    engine: SlotEngine = request.app.state.engine
    model = engine.loaded_model
    known = known_languages(model)
    return LanguagesResponse(
        model=model.facts.name,
        languages=[LanguageSchema(code=code, name=name, known=code in known) for code, name in LANGUAGES.items()],
    )
