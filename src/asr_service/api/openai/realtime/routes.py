"""The WebSocket of OpenAI's Realtime API, and short-lived keys for browsers."""

import json
import time
from contextlib import AsyncExitStack
from typing import Final

from fastapi import APIRouter
from pydantic_core import from_json
from starlette.requests import Request
from starlette.websockets import WebSocket

from asr_service.access.client_secrets import ClientSecret, issue_secret
from asr_service.access.usage import KeyUsage
from asr_service.api.content_coding import coding_problem
from asr_service.api.docs.openapi import error_responses, without_null
from asr_service.api.middleware.authentication import REALTIME, caller_of, client_secret_of, key_of
from asr_service.api.openai.realtime.configuration import Configuration
from asr_service.api.openai.realtime.connection import RealtimeConnection, SessionLimits, session_identity
from asr_service.api.openai.realtime.metering import SteadyMeter
from asr_service.api.openai.realtime.schemas import ClientSecretRequest, ClientSecretResponse
from asr_service.api.problems import note_failure, problem
from asr_service.engine.slot import SlotEngine
from asr_service.errors import (
    AsrError,
    InvalidParameter,
    MalformedRequest,
    NoWebSocket,
    UpgradeRequired,
    UploadTooLarge,
)
from asr_service.validation import check_fields

router = APIRouter(tags=["OpenAI"])
websockets = APIRouter()
"""FastAPI cannot document WebSockets, and the dependencies that document API keys are for requests only."""

_MAX_SESSION_S: Final = 3600.0
_MAX_BODY_BYTES: Final = 64 * 1024


@router.post(
    "/v1/realtime/client_secrets",
    summary="Make a short-lived key for a browser",
    description="The secret opens sessions at /v1/realtime until it expires, with the limits of the API key that made "
    "it. A session may last longer than its secret.",
    operation_id="create_client_secret",
    response_model=ClientSecretResponse,
    responses=error_responses(400, 401, 404, 413, 503),
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": without_null(ClientSecretRequest)}}}},
)
async def create_client_secret(request: Request) -> ClientSecretResponse:
    engine: SlotEngine = request.app.state.engine
    asked = check_fields(ClientSecretRequest, await _json_body(request))
    configuration = Configuration().updated(asked.session)
    configuration.live_options(engine.settings, engine.loaded_model)
    expires_at = int(time.time()) + asked.expires_after.seconds
    secret = ClientSecret(key_of(request.scope), expires_at, configuration.stored())
    session = session_identity(time.time() + _MAX_SESSION_S) | configuration.to_json(engine.loaded_model)
    return ClientSecretResponse(value=issue_secret(secret), expires_at=expires_at, session=session)


@router.get(REALTIME, include_in_schema=False)
async def explain() -> None:
    raise UpgradeRequired("This path has a WebSocket. Connect with a WebSocket client; docs/api.md has examples.")


@websockets.websocket(REALTIME)
async def connect(websocket: WebSocket) -> None:
    async with AsyncExitStack() as stack:
        try:
            connection = await _open(websocket, stack)
        except AsrError as error:
            note_failure(error)
            await websocket.send_denial_response(problem(error, openai=True))
            return
        # A browser closes the connection unless one of the sub-protocols that it offers is selected.
        await websocket.accept("realtime" if "realtime" in websocket.scope["subprotocols"] else None)
        await connection.run()


@websockets.websocket("/{path:path}")
async def refuse(websocket: WebSocket) -> None:
    error = NoWebSocket(f"There is no WebSocket at this path. Connect to {REALTIME}.")
    await websocket.send_denial_response(problem(error))


async def _open(websocket: WebSocket, stack: AsyncExitStack) -> RealtimeConnection:
    """Admit a session, within the limits of API key, caller and slot. Raises AsrError."""
    engine: SlotEngine = websocket.app.state.engine
    usage: KeyUsage = websocket.app.state.key_usage
    key = key_of(websocket.scope)
    configuration = _configuration(websocket)
    options = configuration.live_options(engine.settings, engine.loaded_model)
    stack.enter_context(usage.lease(key))
    await usage.check_audio(key)
    meter = stack.enter_context(SteadyMeter(usage.meter(key)))
    caller = caller_of(websocket.scope)
    live = await stack.enter_async_context(engine.open_live(options, caller=caller, on_audio=meter.charge))
    return RealtimeConnection(websocket, live, configuration, engine, SessionLimits(key, usage, _MAX_SESSION_S))


def _configuration(websocket: WebSocket) -> Configuration:
    """Return the configuration that the client secret and the URL ask for. Raises InvalidParameter."""
    query = websocket.query_params
    if query.get("intent", "transcription") != "transcription":
        raise InvalidParameter("intent must be transcription: this service has no other sessions.", param="intent")
    secret = client_secret_of(websocket.scope)
    configuration = Configuration() if secret is None else Configuration().updated(json.loads(secret.session))
    if not (model := query.get("model")):
        return configuration
    return configuration.updated({"audio": {"input": {"transcription": {"model": model}}}})


async def _json_body(request: Request) -> dict[str, object]:
    """Return the JSON object of the body; an empty body is an empty object."""
    if (problem := coding_problem(request)) is not None:
        raise MalformedRequest(problem)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise UploadTooLarge(f"The body is larger than {_MAX_BODY_BYTES} bytes.")
    try:
        fields = from_json(body or b"{}")
    except ValueError:
        raise MalformedRequest("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise MalformedRequest("The body is a JSON object.")
    return fields
