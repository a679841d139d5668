"""OpenTelemetry traces. They are off, and the SDK is not imported, unless the standard variables turn them on.

A request is one trace, and its stages are spans. An attempt at a job is a trace with a link to the request that
submitted it. Attributes hold ids, sizes and times, but never text of a recording.
The variables: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from asr_service import __version__
from asr_service.extras import install_command

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Attributes = Mapping[str, str | int | float]

log = structlog.get_logger(__name__)

_FLUSH_S = 5.0
_provider: "TracerProvider | None" = None


def start_tracing(slot: int | None) -> None:
    """Start tracing in this process, a slot or a job worker (None), if the variables turn it on.

    Call it in a worker, after the fork: the exporter's thread does not survive one.
    """
    if not is_tracing_asked_for(os.environ):
        return
    try:
        set_provider(_otlp_provider(slot))
    except ImportError:
        log.warning("OTEL_* variables turn tracing on, but OpenTelemetry is missing", fix=install_command("otel"))
    else:
        log.info("tracing started")


def stop_tracing() -> None:
    """Export the remaining spans and stop tracing.

    Blocks for at most 5 s, so that an unreachable collector does not delay a drain.
    """
    if _provider is not None:
        # In a thread, because the exporter retries for 10 s and ignores a shorter timeout.
        flushing = threading.Thread(target=_provider.force_flush, name="flush-traces", daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
        set_provider(None)


def set_provider(provider: "TracerProvider | None") -> None:
    """Create spans with `provider` from now on, or none.

    It does not become the global provider of the process, because FastAPI would add its own spans to that one.
    """
    global _provider  # noqa: PLW0603  # tracing is on or off for the whole process
    _provider = provider
    # This logger warns about each member of a malformed header: a client could cause over a hundred lines per request.
    logging.getLogger("opentelemetry.baggage").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The span of a whole request. Does nothing if tracing is off."""

    _span: "Span | None" = None

    @property
    def trace_id(self) -> str | None:
        """The trace id in the form of the `traceparent` header. None if tracing is off."""
        return None if self._span is None else f"{self._span.get_span_context().trace_id:032x}"

    def set_status(self, status: int) -> None:
        if self._span is None:
            return
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:  # noqa: PLR2004  # only these are errors by the semantic conventions
            _mark_failed(self._span, str(status))


@contextmanager
def request_trace(name: str, headers: Mapping[str, str], attributes: Attributes) -> Iterator[RequestTrace]:
    """Trace a request until the context ends. A `traceparent` header makes it part of the caller's trace."""
    if _provider is None:
        yield RequestTrace()
        return
    from opentelemetry.propagate import extract  # noqa: PLC0415  # an optional dependency
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _open(name, attributes, context=extract(headers), kind=SpanKind.SERVER) as opened:
        yield RequestTrace(opened)


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[None]:
    """Record a span inside the current one. Do not keep it open across a generator's `yield`."""
    if _provider is None:
        yield
        return
    with _open(name, attributes):
        yield


def current_traceparent() -> str | None:
    """Return the current span in the form of the `traceparent` header. None without a span."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def linked_trace(name: str, traceparent: str | None, attributes: Attributes) -> Iterator[None]:
    """Trace work that another request started, as a trace of its own with a link to the span of that request."""
    if _provider is None:
        yield
        return
    with _open(name, attributes, **_apart(traceparent)):
        yield


def record_linked_span(
    name: str, traceparent: str | None, seconds: float, attributes: Attributes, *, failed: str | None = None
) -> None:
    """Record a trace of one span that has just ended, with a link. `failed` is the code of its error."""
    if _provider is None:
        return
    now_s = time.time()
    recorded = _tracer().start_span(
        name, attributes=attributes, start_time=int((now_s - seconds) * 1e9), **_apart(traceparent)
    )
    if failed is not None:
        _mark_failed(recorded, failed)
    recorded.end(int(now_s * 1e9))


def _apart(traceparent: str | None) -> dict[str, Any]:
    """Return the options of a span that begins a trace, with a link to `traceparent`."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    linked = get_current_span(TraceContextTextMapPropagator().extract(carrier, Context())).get_span_context()
    return {"context": Context(), "links": [Link(linked)] if linked.is_valid else []}


def record_span(
    name: str, start_s: float, end_s: float, attributes: Attributes | None = None, *, failed: str | None = None
) -> None:
    """Record a span that has ended. The times are those of `time.monotonic()`. `failed` is the code of its error."""
    if _provider is None:
        return
    epoch_s = time.time() - time.monotonic()
    recorded = _tracer().start_span(name, attributes=attributes, start_time=int((start_s + epoch_s) * 1e9))
    if failed is not None:
        _mark_failed(recorded, failed)
    recorded.end(int((end_s + epoch_s) * 1e9))


def error_code(error: BaseException) -> str:
    """Return an error's code, or else its type. Its message is not used, because it may contain text of a recording."""
    return str(getattr(error, "code", type(error).__name__))


def _tracer() -> "Tracer":
    assert _provider is not None  # noqa: S101  # the callers check it
    return _provider.get_tracer("asr_service", __version__)


@contextmanager
def _open(name: str, attributes: Attributes, **more: Any) -> "Iterator[Span]":
    # Otherwise the SDK adds an exception's message and stack to the span.
    without_exception: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    with _tracer().start_as_current_span(name, attributes=attributes, **without_exception, **more) as opened:
        try:
            yield opened
        except BaseException as error:
            _mark_failed(opened, error_code(error))
            raise


def _mark_failed(span: "Span", code: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)


def is_tracing_asked_for(environ: Mapping[str, str]) -> bool:
    """Return whether OpenTelemetry's variables ask for traces that this service can export."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    named = any(environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or not (exporter or named):
        return False
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if exporter not in {"", "otlp", "none"} or protocol not in {None, "", "http/protobuf"}:
        log.warning("traces can only be exported as OTLP over http/protobuf", exporter=exporter, protocol=protocol)
        return False
    return exporter != "none"


def _otlp_provider(slot: int | None) -> "TracerProvider":
    """Return a provider that exports in batches on its own thread. The SDK reads the other variables itself."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    defaults = Resource(
        {
            "service.name": "asr-service",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}/{'worker' if slot is None else f'slot-{slot}'}",
            **({} if slot is None else {"asr.slot": slot}),
        }
    )
    configured = OTELResourceDetector().detect()  # the operator's attributes take precedence
    provider = TracerProvider(resource=Resource.create().merge(defaults).merge(configured), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
