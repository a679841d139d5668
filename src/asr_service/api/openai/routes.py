"""The routes of OpenAI's audio and models APIs. Requests take the same path through the service as /transcribe."""

import psutil
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from asr_service.api.docs.openapi import error_responses, openai_documentation
from asr_service.api.handler import handle_transcription
from asr_service.api.openai.parameters import read_transcription, read_translation, require_served
from asr_service.api.openai.schemas import ModelResponse, ModelsResponse, OpenAIForm
from asr_service.engine.slot import SlotEngine
from asr_service.formats import EVENTS, OPENAI_FORMATS
from asr_service.models.resolution import served_names

router = APIRouter(tags=["OpenAI"])

_FORMATS = (*OPENAI_FORMATS.values(), EVENTS)


@router.post(
    "/v1/audio/transcriptions",
    **openai_documentation("Transcribe, as OpenAI does", "create_transcription", OpenAIForm, _FORMATS),
)
async def transcriptions(request: Request) -> Response:
    return await handle_transcription(request, read_transcription)


@router.post(
    "/v1/audio/translations",
    **openai_documentation("Translate into English, as OpenAI does", "create_translation", OpenAIForm, _FORMATS),
)
async def translations(request: Request) -> Response:
    return await handle_transcription(request, read_translation)


@router.get(
    "/v1/models",
    summary="List the names of the loaded model, as OpenAI lists models",
    description="Every name stands for the same model. `ASR_MODEL_ALIASES` adds names.",
    operation_id="list_models",
    response_model=ModelsResponse,
    responses=error_responses(401, 503),
)
async def list_models(request: Request) -> ModelsResponse:
    engine: SlotEngine = request.app.state.engine
    names = served_names(engine.settings, engine.loaded_model.facts.name)
    return ModelsResponse(object="list", data=[_model(name, engine) for name in names])


@router.get(
    "/v1/models/{model:path}",  # a repository's name has a slash
    summary="Describe a model, by any of its names",
    description="The response is a 404 if the loaded model does not have the name.",
    operation_id="retrieve_model",
    response_model=ModelResponse,
    responses=error_responses(401, 404, 503),
    openapi_extra={
        "parameters": [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "description": "A name of the model.",
            }
        ]
    },
)
async def retrieve_model(request: Request) -> ModelResponse:
    # The handler reads the parameter itself: FastAPI would document a 422, which no name can cause.
    engine: SlotEngine = request.app.state.engine
    name = request.path_params["model"]
    require_served(name, engine.settings, engine.loaded_model)
    return _model(name, engine)


def _model(name: str, engine: SlotEngine) -> ModelResponse:
    repositories = [each for each in served_names(engine.settings, engine.loaded_model.facts.name) if "/" in each]
    owner = repositories[0].split("/")[0] if repositories else "local"
    return ModelResponse(id=name, object="model", created=int(psutil.Process().create_time()), owned_by=owner)
