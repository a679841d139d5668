"""Admits requests with a recording and receives them, within the limits of caller, API key and slot."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from starlette.requests import Request

from asr_service.access.caller import Caller
from asr_service.access.caller_turns import CallerTurns
from asr_service.access.usage import KeyUsage, Meter
from asr_service.api.idempotency import NEW_WORK, Reservation
from asr_service.api.middleware.authentication import caller_of, key_of
from asr_service.api.place import Place
from asr_service.api.upload import Fields, Upload, early_fields, receive_upload
from asr_service.engine.slot import SlotEngine
from asr_service.errors import CallerLimit

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """A request that was admitted, and its upload."""

    upload: Upload
    place: Place
    meter: Meter


@asynccontextmanager
async def received(
    request: Request, check: Callable[[Fields], object], reservation: Reservation = NEW_WORK
) -> AsyncIterator[Received]:
    """Admit the request and receive its upload. Its place is held and its file kept until the context ends.

    `check` is called before the upload, if the fields are known by then, and raises what is wrong with them.
    Raises CallerLimit, KeyLimitReached: the caller or its key is at a limit. Raises Unavailable: the slot is.
    Raises what `receive_upload` raises.
    """
    caller = caller_of(request.scope)
    async with AsyncExitStack() as stack:
        try:
            result = await _receive(request, caller, check, reservation, stack)
        except CallerLimit:
            log.warning("request refused: its caller is at a limit", caller=caller)
            raise
        yield result


@asynccontextmanager
async def place_of(request: Request) -> AsyncIterator[None]:
    """Hold a place for a request that needs no work of the model, until the context ends.

    Raises CallerLimit, KeyLimitReached, Unavailable, as `received` does.
    """
    turns: CallerTurns = request.app.state.upload_turns
    async with turns.turn(caller_of(request.scope)):
        place = await _take_place(request, adds_work=False)
        async with place.held():
            yield


async def check_new_work(request: Request) -> None:
    """Check that the request may add work. Raises Overloaded: the queue is full. Raises AudioLimit: the key is."""
    engine: SlotEngine = request.app.state.engine
    usage: KeyUsage = request.app.state.key_usage
    await usage.check_audio(key_of(request.scope))
    engine.admission.check_queue()


async def _receive(
    request: Request, caller: Caller, check: Callable[[Fields], object], reservation: Reservation, stack: AsyncExitStack
) -> Received:
    usage: KeyUsage = request.app.state.key_usage
    turns: CallerTurns = request.app.state.upload_turns
    async with turns.turn(caller):
        meter = usage.meter(key_of(request.scope))
        place = await stack.enter_async_context(_place(request, reservation))
        if (fields := early_fields(request)) is not None:
            check(fields)
        upload = await stack.enter_async_context(receive_upload(request))
    return Received(upload, place, meter)


@asynccontextmanager
async def _place(request: Request, reservation: Reservation) -> AsyncIterator[Place]:
    """Hold a place of the request's own, or the place of the work that it adopts, if that has not ended."""
    place = reservation.place
    if place is None or not place.is_held:
        place = await _take_place(request, adds_work=reservation.adds_work)
    async with place.held():
        yield place


async def _take_place(request: Request, *, adds_work: bool) -> Place:
    engine: SlotEngine = request.app.state.engine
    usage: KeyUsage = request.app.state.key_usage
    async with AsyncExitStack() as stack:
        stack.enter_context(usage.lease(key_of(request.scope)))
        if adds_work:
            await check_new_work(request)
        stack.enter_context(engine.admission.permit(caller_of(request.scope)))
        return Place(stack.pop_all())
