"""The spans of a request, their attributes and their export; nothing is loaded while tracing is off."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.jobs.client import JobClient
from api.jobs.conftest import TIMES
from api.live import ALL, Live, serving, tone
from asr_service import tracing
from asr_service.webhooks.signing import new_secret
from fakes import Call, FakeModel, writing
from http_servers import Handler, serving_http
from serving.harness import running
from waiting import until
from webhooks.receiver import receiving

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = CALLER.split("-")[1]
STAGES = ["receive", "decode", "vad", "features", "queue", "inference encode", "inference generate", "render"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serve with jobs, whose webhooks can reach this machine."""
    settings: dict[str, Any] = {"webhook_secret": new_secret(), "webhook_allow_networks": "127.0.0.0/8"}
    state_dir = tmp_path_factory.mktemp("state")
    with serving(FakeModel(writing(" xylophone")), job_times=TIMES, state_dir=state_dir, **settings) as live:
        yield live


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span that has ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.set_provider(provider)
    yield exporter
    tracing.set_provider(None)


def send(live: Live, *, audio: bytes | None = None, headers: dict[str, str] | None = None, **fields: str) -> int:
    answer = httpx.post(
        f"{live.url}/transcribe", files={"file": audio or tone()}, data=ALL | fields, headers=headers or {}, timeout=60
    )
    return answer.status_code


def finished(spans: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """Return the spans by name, once the request's own span has ended. It ends after the response."""
    until(lambda: any(span.name.startswith("POST") for span in spans.get_finished_spans()), what="the request's span")
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def duration_ns(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.end_time - span.start_time


def test_a_request_is_part_of_its_callers_trace(live, spans):
    """Each stage is a span below the caller's span; the model's stages are below the span of their window."""
    assert send(live, headers={"traceparent": CALLER, "x-request-id": "r-7"}, word_timestamps="true") == 200
    found = finished(spans)
    assert set(found) == {"POST /transcribe", *STAGES, "window", "inference align"}
    (root,), (window,) = found["POST /transcribe"], found["window"]
    everything = [span for several in found.values() for span in several]
    assert {f"{span.context.trace_id:032x}" for span in everything if span.context} == {TRACE_ID}
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == CALLER.split("-")[2]
    assert dict(root.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/transcribe",
        "http.response.status_code": 200,
        "asr.request_id": "r-7",
    }
    for span in everything:
        of_model = span.name == "queue" or span.name.startswith("inference")
        assert span is root or span.parent == (window if of_model else root).context, span.name
    assert (found["inference encode"][0].attributes or {})["asr.batch_size"] == 1


def test_a_job_and_its_webhook_are_linked_to_the_submission(live, spans):
    """Each attempt is a trace of its own, with its work in it and a link to the request that submitted the job."""
    with receiving() as receiver:
        receiver.status = 400
        url = f"http://127.0.0.1:{receiver.port}/"
        job_id = JobClient(live).accepted(headers={"traceparent": CALLER}, webhook_url=url)
        until(lambda: "webhook" in {span.name for span in spans.get_finished_spans()}, what="the webhook's span")
    found = {span.name: span for span in spans.get_finished_spans()}
    submission = found["POST /jobs"].context
    for name in ("job", "webhook"):
        (link,), attributes = found[name].links, found[name].attributes or {}
        assert (link.context.trace_id, link.context.span_id) == (submission.trace_id, submission.span_id)
        assert (attributes["asr.job_id"], attributes["asr.attempt"]) == (job_id, 1)
        assert found[name].parent is None
        assert found[name].context.trace_id != submission.trace_id
    assert found["window"].parent == found["job"].context
    assert (found["webhook"].attributes or {})["error.type"] == "rejected"
    assert found["job"].status.is_unset


def test_no_span_contains_text_of_the_recording(live, spans):
    """The spans contain no text of the prompt or of an error message either."""
    live.model.before = _fail_at_align
    assert send(live, initial_prompt="glockenspiel") == 200
    assert send(live, word_timestamps="true", initial_prompt="glockenspiel") == 500
    until(lambda: sum(span.name.startswith("POST") for span in spans.get_finished_spans()) == 2)
    live.model.before = lambda _: None
    exported = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "xylophone" not in exported
    assert "glockenspiel" not in exported
    assert "inference_failed" in exported


def _fail_at_align(call: Call) -> None:
    if call.stage == "align":
        raise ValueError("cannot align xylophone")


def test_a_failed_stage_has_the_error_code(live, spans):
    """It is the code in the response. A client error does not mark the request's span as failed."""
    assert send(live, audio=b"no sound at all") == 415
    found = finished(spans)
    assert (found["decode"][0].attributes or {})["error.type"] == "unsupported_audio"
    (root,) = found["POST /transcribe"]
    assert (root.attributes or {})["http.response.status_code"] == 415
    assert root.status.is_unset


def test_probes_leave_no_traces(live, spans):
    """Probes arrive every few seconds and would hide the other traces."""
    for path in ("/health", "/health/ready", "/metrics"):
        live.get(path)
    send(live)
    assert [name for name in finished(spans) if name.startswith(("GET", "POST"))] == ["POST /transcribe"]


def test_stages_add_up_to_the_request(live, spans):
    """For one clip alone, stages cover at least nine tenths of the request, in the trace and in the histogram."""
    live.model.before = _slowly

    def is_covered() -> bool:
        """Send a request and compare the sums. Another program may delay any one request between two stages."""
        spans.clear()
        before = totals(live)
        assert send(live) == 200
        found = finished(spans)
        of_stages = sum(duration_ns(span) for name in STAGES for span in found[name])
        whole, counted = (new - old for new, old in zip(totals(live), before, strict=True))
        traced = duration_ns(found["POST /transcribe"][0])
        return 0.9 * traced <= of_stages <= traced and 0.9 * whole <= counted <= whole

    until(is_covered, what="a request whose stages add up to it")
    live.model.before = lambda _: None


def _slowly(call: Call) -> None:
    if call.stage in {"encode", "generate"}:
        threading.Event().wait(0.2)


def totals(live: Live) -> tuple[float, float]:
    """Return the total seconds of requests and of stages so far."""
    text = live.get("/metrics").text
    stages = re.findall(r"^asr_stage_duration_seconds_sum\{.*\} (\S+)", text, re.MULTILINE)
    return live.metric('asr_request_duration_seconds_sum{endpoint="/transcribe"}'), sum(map(float, stages))


@pytest.mark.parametrize(
    ("environ", "enabled"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "asr"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, False),
    ],
)
def test_only_the_standard_variables_turn_tracing_on(environ, enabled):
    """Tracing needs an endpoint or an exporter, and must not be disabled or use another protocol."""
    assert tracing.is_tracing_asked_for(environ) is enabled


@pytest.mark.parametrize("missing", [False, True], ids=["disabled", "without the extra"])
def test_the_sdk_is_not_imported_without_tracing(missing):
    """FastAPI imports the API only. If tracing is on but the extra is missing, there is a warning and no error."""
    hidden = "sys.modules.update({'opentelemetry.sdk': None, 'opentelemetry.exporter': None})" if missing else ""
    code = f"""import sys
{hidden}
from asr_service.api import app, factory
from asr_service import stages, tracing
tracing.start_tracing(0)
with tracing.request_trace("x", {{}}, {{}}) as trace, tracing.span("y", {{}}), stages.stage("decode"):
    trace.set_status(500)
tracing.stop_tracing()
extra = ("opentelemetry.sdk", "opentelemetry.exporter")
print([name for name, module in sys.modules.items() if name.startswith(extra) and module])"""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"} if missing else {}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert ("pip install 'asr-service[otel]'" in done.stdout) is missing


def test_an_unreachable_collector_does_not_block_the_shutdown(monkeypatch):
    """`stop_tracing` returns within its limit, although the export hangs."""
    never = threading.Event()

    class Stuck(SimpleSpanProcessor):
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return never.wait(timeout_millis / 1000)

    monkeypatch.setattr(tracing, "_FLUSH_S", 0.1)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Stuck(InMemorySpanExporter()))
    tracing.set_provider(provider)
    stopping = threading.Thread(target=tracing.stop_tracing, daemon=True)
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive()
    never.set()


@dataclass
class Collector:
    """An OTLP endpoint over HTTP, and the requests that it received."""

    url: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> list[tuple[dict[str, Any], Any]]:
        """Return each span with the attributes of its resource."""
        return [
            ({entry.key: entry.value.string_value or entry.value.int_value for entry in sent.resource.attributes}, span)
            for request in self.requests
            for sent in request.resource_spans
            for scope in sent.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Receiver(Handler):
        def do_POST(self) -> None:
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.requests.append(ExportTraceServiceRequest.FromString(self.body()))
            self.answer(200)

    with serving_http(Receiver) as collector.url:
        yield collector


def test_every_worker_exports_its_spans_before_it_ends(tmp_path):
    """With Gunicorn and two slots, nothing is exported before the stop signal, and everything when they have ended."""
    with collecting() as collector:
        environ = {
            "ASR_DEVICES": "cuda:0,cuda:1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=trial",
        }
        with running(tmp_path, {}, launcher="deploy.launcher", **environ) as service:
            until(lambda: service.alive() and len(service.lines("ready")) == 2, what="two slots")
            for slot in (0, 1):
                with httpx.Client(transport=httpx.HTTPTransport(uds=str(service.socket(slot)))) as client:
                    answer = client.post(
                        "http://slot/transcribe", files={"file": tone()}, data=ALL, headers={"traceparent": CALLER}
                    )
                    assert answer.status_code == 200
            assert not collector.requests
            service.signal(signal.SIGTERM)
            assert service.ended() == 0
            log = service.lines("request")
    found = collector.spans()
    assert {span.trace_id.hex() for _, span in found} == {TRACE_ID} == {line["trace_id"] for line in log}
    for slot in (0, 1):
        of_slot = [(resource, span) for resource, span in found if resource["asr.slot"] == slot]
        assert {span.name for _, span in of_slot} == {"POST /transcribe", "window", *STAGES}
        assert {resource["service.name"] for resource, _ in of_slot} == {"asr-service"}
        assert {resource["deployment.environment.name"] for resource, _ in of_slot} == {"trial"}
        assert of_slot[0][0]["service.instance.id"].endswith(f"/slot-{slot}")


def test_a_malformed_baggage_header_is_not_logged(live, spans, caplog):
    """The SDK would log a warning for each of its members."""
    assert send(live, headers={"baggage": "a," * 200}) == 200
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
