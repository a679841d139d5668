"""Traces by OpenTelemetry, where its own variables ask for them. Else nothing happens and its SDK is not imported.

A request is one trace, its stages are spans of it. Attributes hold ids, sizes and times, never a word of a recording.
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

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Attributes = Mapping[str, str | int | float]

log = structlog.get_logger(__name__)

_FLUSH_S = 5.0
_provider: "TracerProvider | None" = None


def start_tracing(slot: int) -> None:
    """Begin in this process, where the variables ask for it. Call in a worker: the sender's thread survives no fork."""
    if not _is_asked_for(os.environ):
        return
    try:
        use(_otlp_provider(slot))
    except ImportError:
        log.warning("traces are asked for by OTEL_* and cannot be made: install asr-service[otel]")
    else:
        log.info("tracing")


def stop_tracing() -> None:
    """Send what is not yet sent, and end. Blocks, 5 s at most: a collector that is away must not hold up a drain."""
    if _provider is not None:
        # In a thread, since the exporter tries again for 10 s whatever time it is given.
        flushing = threading.Thread(target=_provider.force_flush, name="flush-traces", daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
        use(None)


def use(provider: "TracerProvider | None") -> None:
    """Make spans with `provider` from here on, or none.

    It is not made the process' global one, which FastAPI would fill with spans of its own.
    """
    global _provider  # noqa: PLW0603  # a process traces or does not
    _provider = provider
    # It warns of each member of a malformed header, a hundred and more a request, whoever sends it.
    logging.getLogger("opentelemetry.baggage").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The span of a whole request, or nothing in its place."""

    _span: "Span | None" = None

    @property
    def trace_id(self) -> str | None:
        """As it stands in `traceparent`."""
        return None if self._span is None else f"{self._span.get_span_context().trace_id:032x}"

    def answered(self, status: int) -> None:
        if self._span is None:
            return
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:  # noqa: PLR2004  # the server's fault, by the semantic conventions
            _mark_failed(self._span, str(status))


@contextmanager
def request_trace(name: str, headers: Mapping[str, str], attributes: Attributes) -> Iterator[RequestTrace]:
    """A request from here to the context's end; `traceparent` among `headers` makes it part of its caller's trace."""
    if _provider is None:
        yield RequestTrace()
        return
    from opentelemetry.propagate import extract  # noqa: PLC0415  # an extra
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _open(name, attributes, context=extract(headers), kind=SpanKind.SERVER) as opened:
        yield RequestTrace(opened)


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[None]:
    """A part of what goes on around it, in which others may be. Not to be held across a generator's `yield`."""
    if _provider is None:
        yield
        return
    with _open(name, attributes):
        yield


def note_span(
    name: str, began_s: float, ended_s: float, attributes: Attributes | None = None, *, failed: str | None = None
) -> None:
    """What has happened between two moments of `time.monotonic()`. `failed` is an error's code, where it did."""
    if _provider is None:
        return
    epoch_s = time.time() - time.monotonic()
    done = _tracer().start_span(name, attributes=attributes, start_time=int((began_s + epoch_s) * 1e9))
    if failed is not None:
        _mark_failed(done, failed)
    done.end(int((ended_s + epoch_s) * 1e9))


def failure_of(error: BaseException) -> str:
    """A word for an error: its code, else its type. Its message may say what was said."""
    return str(getattr(error, "code", type(error).__name__))


def _tracer() -> "Tracer":
    assert _provider is not None  # noqa: S101  # asked before
    return _provider.get_tracer("asr_service", __version__)


@contextmanager
def _open(name: str, attributes: Attributes, **more: Any) -> "Iterator[Span]":
    # The SDK would write an exception's message and stack into the span.
    silent: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    with _tracer().start_as_current_span(name, attributes=attributes, **silent, **more) as opened:
        try:
            yield opened
        except BaseException as error:
            _mark_failed(opened, failure_of(error))
            raise


def _mark_failed(span: "Span", code: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)


def _is_asked_for(environ: Mapping[str, str]) -> bool:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    named = any(environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or not (exporter or named):
        return False
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if exporter not in {"", "otlp", "none"} or protocol not in {None, "", "http/protobuf"}:
        log.warning("traces can be sent as OTLP over http/protobuf alone", exporter=exporter, protocol=protocol)
        return False
    return exporter != "none"


def _otlp_provider(slot: int) -> "TracerProvider":
    """Sends in batches, by a thread of its own. The SDK and the exporter read the rest of the variables themselves."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    ours = Resource(
        {
            "service.name": "asr-service",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}/slot-{slot}",
            "asr.slot": slot,
        }
    )
    given = OTELResourceDetector().detect()  # what the operator set stands
    provider = TracerProvider(resource=Resource.create().merge(ours).merge(given), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
