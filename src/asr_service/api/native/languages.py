"""/languages: what there is. /detect-language: which of them a recording is in, without its transcript."""

import time
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request

from asr_service.access.usage import Meter
from asr_service.api.docs.openapi import detection_documentation, error_responses
from asr_service.api.handler import handle_upload
from asr_service.api.native.parameters import once
from asr_service.api.native.schemas import (
    DetectionAnswer,
    DetectParameters,
    LanguageAnswer,
    LanguagesAnswer,
)
from asr_service.api.upload import Fields, Upload
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.vocabulary import known_languages
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import SlotEngine
from asr_service.languages import LANGUAGES
from asr_service.settings import Settings
from asr_service.transcript import Detection
from asr_service.validation import check_fields

router = APIRouter(tags=["Speech"])


@router.get(
    "/languages",
    summary="Every language of Whisper, and whether the loaded model knows it",
    operation_id="list_languages",
    response_model=LanguagesAnswer,
    responses=error_responses(401, 403, 503),
)
async def list_languages(request: Request) -> LanguagesAnswer:
    service: SlotEngine = request.app.state.service
    model = service.loaded_model
    known = known_languages(model)
    return LanguagesAnswer(
        model=model.facts.name,
        languages=[LanguageAnswer(code=code, name=name, known=code in known) for code, name in LANGUAGES.items()],
    )


@router.post("/detect-language", **detection_documentation("Tell the language of the first speech", "detect_language"))
async def detect_language(request: Request) -> DetectionAnswer:
    service: SlotEngine = request.app.state.service

    async def work(upload: Upload, transcriber: Transcriber, meter: Meter) -> Detection:
        options = _read(upload.fields, service.settings, service.loaded_model)
        deadline = time.monotonic() + service.settings.request_timeout_s
        return await transcriber.detect_language(upload.file, options, deadline=deadline, on_audio=meter.charge)

    return _answer(await handle_upload(request, work), service.loaded_model)


def _read(fields: Fields, settings: Settings, model: SpeechModel) -> DecodingOptions:
    asked = check_fields(DetectParameters, once(fields))
    options = resolve_options(RequestOptions(**asked.model_dump()), settings, model)
    return replace(options, language=None, language_per_chunk=False)


def _answer(detection: Detection, model: SpeechModel) -> DetectionAnswer:
    likeliest, probability = next(iter(detection.probabilities), (None, None))
    return DetectionAnswer(
        language=likeliest,
        name=LANGUAGES.get(likeliest) if likeliest else None,
        probability=round(probability, 4) if probability is not None else None,
        probabilities={code: round(share, 4) for code, share in detection.probabilities},
        start=round(detection.start, 3) if detection.start is not None else None,
        end=round(detection.end, 3) if detection.end is not None else None,
        model=model.facts.name,
    )
