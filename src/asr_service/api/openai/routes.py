"""OpenAI's audio API: its addresses, on the same way from a request to its answer as every other."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from asr_service.api.docs.openapi import openai_documentation
from asr_service.api.handler import handle_transcription
from asr_service.api.openai.parameters import read_transcription, read_translation
from asr_service.api.openai.schemas import TranscriptionForm, TranslationForm
from asr_service.formats import EVENTS, OPENAI_FORMATS

router = APIRouter(tags=["OpenAI"])

_FORMATS = tuple(OPENAI_FORMATS.values())


@router.post(
    "/v1/audio/transcriptions",
    **openai_documentation("OpenAI's transcription", "create_transcription", TranscriptionForm, (*_FORMATS, EVENTS)),
)
async def transcriptions(request: Request) -> Response:
    return await handle_transcription(request, read_transcription)


@router.post(
    "/v1/audio/translations",
    **openai_documentation("OpenAI's translation into English", "create_translation", TranslationForm, _FORMATS),
)
async def translations(request: Request) -> Response:
    return await handle_transcription(request, read_translation)
