"""The slot's health and metrics, for load balancers, Kubernetes, Prometheus and people."""

import asyncio
import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asr_service import __version__, metrics
from asr_service.api.docs.openapi import error_responses
from asr_service.api.native.schemas import HealthResponse, QueueSchema
from asr_service.api.problems import uncounted_problem
from asr_service.engine.slot import SlotEngine
from asr_service.hardware.nvml import Gpu, gpu_status
from asr_service.lifecycle import SlotState

router = APIRouter(tags=["Operation"])

METRICS = "/metrics"
"""Needs a key from addresses outside ASR_METRICS_INSIDE."""
_MIB = 1024 * 1024


@router.get(
    "/health",
    summary="The slot's state, its GPU and its queue",
    description="For people and monitors. Proxies and orchestrators use /health/ready and /health/live.",
    response_model=HealthResponse,
    responses={503: {"model": HealthResponse, "description": "Not ready; `reason` says why"}},
)
async def health(request: Request) -> Response:
    began = time.monotonic()
    engine: SlotEngine = request.app.state.engine
    gpu = await asyncio.to_thread(gpu_status, engine.slot.device)
    answer = _health(engine, gpu, began)
    return JSONResponse(answer.model_dump(), 200 if engine.ready else 503)


def _health(engine: SlotEngine, gpu: Gpu | None, began: float) -> HealthResponse:
    windows, audio_s = engine.queue()
    facts = engine.model.facts if engine.model else None
    return HealthResponse(
        status="ok" if engine.state is SlotState.READY else engine.state.value,
        reason=engine.reason,
        model_loaded=facts is not None,
        gpu_memory_used=f"{gpu.memory_used_bytes // _MIB} MiB" if gpu else None,
        gpu_memory_total=f"{gpu.memory_total_bytes // _MIB} MiB" if gpu else None,
        gpu_utilization=gpu.utilization_ratio if gpu else None,
        gpu_temperature_celsius=gpu.temperature_celsius if gpu else None,
        slot=engine.slot.index,
        device=str(engine.slot.device),
        model=facts.name if facts else None,
        compute_type=facts.compute_type if facts else None,
        queue=QueueSchema(
            windows=windows, audio_seconds=round(audio_s, 3), open_requests=engine.admission.open_requests
        ),
        uptime_s=round(time.monotonic() - engine.started_at, 3),
        version=__version__,
        response_time_ms=round((time.monotonic() - began) * 1000, 3),
    )


@router.get(
    "/health/live",
    summary="200 while the process responds",
    description="For an orchestrator, which restarts a process that does not respond.",
    response_model=dict[str, str],
)
async def live() -> Response:
    return JSONResponse({"status": "ok"})


@router.get(
    "/health/ready",
    summary="200 while the slot accepts requests",
    description="For a load balancer. The response is a 503 while the model loads and while the slot drains.",
    response_model=dict[str, str],
    responses=error_responses(503),
)
async def ready(request: Request) -> Response:
    engine: SlotEngine = request.app.state.engine
    if not engine.ready:
        return uncounted_problem(engine.not_ready())
    return JSONResponse({"status": "ok"})


@router.get(
    METRICS,
    summary="Metrics in Prometheus' text format",
    description="The line `# HELP` of each metric says what it means. If the service has API keys, a request from an "
    "address outside ASR_METRICS_INSIDE needs one.",
    response_class=Response,
    responses=error_responses(401),
)
async def prometheus() -> Response:
    return Response(await asyncio.to_thread(metrics.render), media_type=metrics.CONTENT_TYPE)
