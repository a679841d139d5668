"""/v1/models: what the loaded model is called, and the one name that every client of OpenAI's knows."""

import psutil
from fastapi import APIRouter
from starlette.requests import Request

from asr_service.api.docs.openapi import error_responses
from asr_service.api.openai.schemas import ModelAnswer, ModelsAnswer
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.slot import SlotEngine
from asr_service.errors import ModelNotFound
from asr_service.models.resolution import served_names
from asr_service.settings import Settings

router = APIRouter(tags=["OpenAI"])

WHISPER_1 = "whisper-1"
"""The hosted service's name for Whisper, which clients send by themselves; here it stands for the loaded model."""


def require_served(name: str, settings: Settings, model: SpeechModel) -> None:
    """Raises ModelNotFound, which lists what is loaded."""
    names = (*served_names(settings, model.facts.name), WHISPER_1)
    if name not in names:
        raise ModelNotFound(f"the model {name[:64]!r} is not loaded; there is {', '.join(names)}", param="model")


@router.get(
    "/v1/models",
    summary="The loaded model, as OpenAI lists models",
    operation_id="list_models",
    response_model=ModelsAnswer,
    responses=error_responses(401, 403, 503),
)
async def list_models(request: Request) -> ModelsAnswer:
    service: SlotEngine = request.app.state.service
    names = (service.loaded_model.facts.name, WHISPER_1)
    return ModelsAnswer(object="list", data=[_described(name, service) for name in names])


@router.get(
    "/v1/models/{model:path}",  # a repository's name has a slash
    summary="One model by any of its names",
    operation_id="retrieve_model",
    response_model=ModelAnswer,
    responses=error_responses(401, 403, 404, 503),
    openapi_extra={"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]},
)
async def retrieve_model(request: Request) -> ModelAnswer:
    # Read here, and not by FastAPI, which would tell of a 422 that no name gets.
    service: SlotEngine = request.app.state.service
    model = request.path_params["model"]
    require_served(model, service.settings, service.loaded_model)
    return _described(model, service)


def _described(name: str, service: SlotEngine) -> ModelAnswer:
    repositories = [each for each in served_names(service.settings, service.loaded_model.facts.name) if "/" in each]
    owner = repositories[0].split("/")[0] if repositories else "local"
    return ModelAnswer(id=name, object="model", created=int(psutil.Process().create_time()), owned_by=owner)
