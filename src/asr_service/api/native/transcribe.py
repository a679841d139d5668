"""/transcribe and /translate: a recording in, its transcript out, whole or line by line."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from asr_service.api.docs.openapi import transcribe_documentation
from asr_service.api.handler import TranscriptionRequest, handle_transcription
from asr_service.api.native.parameters import parse_parameters
from asr_service.api.native.subtitles import chosen_format, words_wanted
from asr_service.api.upload import Fields
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import Task
from asr_service.engine.resolve_options import resolve_options
from asr_service.errors import InvalidParameter
from asr_service.settings import Settings

router = APIRouter(tags=["Speech"])


@router.post("/transcribe", **transcribe_documentation("Write down what is said", "transcribe"))
async def transcribe(request: Request) -> Response:
    return await handle_transcription(request, lambda *given: _read("transcribe", *given))


@router.post("/translate", **transcribe_documentation("Write down in English what is said", "translate"))
async def translate(request: Request) -> Response:
    return await handle_transcription(request, lambda *given: _read("translate", *given))


def _read(task: Task, fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    asked = parse_parameters(fields)
    if task == "translate" and asked.task == "transcribe":
        raise InvalidParameter("task=transcribe is not valid at /translate. Use /transcribe.", param="task")
    time_words = words_wanted(asked, asked.task or task)
    options = resolve_options(asked, settings, model, default_task=task, time_words=time_words)
    return TranscriptionRequest(options, chosen_format(asked))
