"""The metrics of requests."""

import pytest

from api.live import Live, tone
from asr_service import metrics
from asr_service.api.problems import STATUS

STAGES = ["receive", "decode", "vad", "features", "queue", "encode", "generate", "align", "render"]


def test_a_request_increases_its_counters(live):
    """Requests by path and status, their duration, the seconds of audio, and each stage are counted."""
    counted = [
        'asr_requests_total{code="200",endpoint="/transcribe"}',
        'asr_request_duration_seconds_count{endpoint="/transcribe"}',
        'asr_realtime_factor_count{length="short"}',
        *(f'asr_stage_duration_seconds_count{{stage="{stage}"}}' for stage in STAGES),
    ]
    had = {sample: live.metric(sample) for sample in [*counted, "asr_audio_seconds_total"]}
    live.post(audio=tone(3), word_timestamps="true")
    assert {sample: live.metric(sample) > had[sample] for sample in counted} == dict.fromkeys(counted, True)
    assert live.metric("asr_audio_seconds_total") == pytest.approx(had["asr_audio_seconds_total"] + 3)


def test_a_failure_is_counted_by_its_reason(live):
    """The label is the code of the error response."""
    sample = 'asr_request_failures_total{reason="invalid_parameter"}'
    had = live.metric(sample)
    live.post(beam_size="x")
    assert live.metric(sample) == had + 1


def test_no_caller_can_create_labels(live: Live):
    """An unknown path has the label `other`, and appears nowhere."""
    sample = 'asr_requests_total{code="404",endpoint="other"}'
    had = live.metric(sample)
    for path in ("/made-up", "/transcribe/x", "/health/../made-up"):
        assert live.get(path).status_code == 404
    assert live.metric(sample) == had + 3
    assert "made-up" not in live.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "endpoint", "status"),
    [
        ("/jobs/job_1/events", "/jobs/{job_id}/events", 501),
        ("/v1/models/Systran/faster-whisper-base", "/v1/models/{model}", 404),
        ("/v1/realtime", "/v1/realtime", 426),
    ],
)
def test_paths_with_parameters_have_the_label_of_their_route(live: Live, path: str, endpoint: str, status: int) -> None:
    """Also if a parameter has a slash."""
    sample = f'asr_requests_total{{code="{status}",endpoint="{endpoint}"}}'
    had = live.metric(sample)
    assert live.get(path).status_code == status
    assert live.metric(sample) == had + 1


def test_metrics_have_the_media_type_of_prometheus(live):
    """The media type names the text exposition format."""
    assert live.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_failures_that_alerts_watch_are_counted_from_zero(live: Live) -> None:
    """A rate does not see the step to a first sample: without the zeros, ten failures after a start would be none."""
    shown = live.get("/metrics").text
    reasons = {kind.code for kind, status in STATUS.items() if status >= 500} - {"jobs_disabled"} | {"internal_error"}
    assert reasons == set(metrics.FAULTS)
    for reason in reasons:
        assert f'asr_request_failures_total{{reason="{reason}"}} ' in shown
    for endpoint in metrics.WORK_ENDPOINTS:
        assert f'asr_requests_total{{code="503",endpoint="{endpoint}"}} ' in shown


def test_the_endpoints_that_accept_a_recording_are_those_of_the_api(live: Live) -> None:
    """The rules in deploy/prometheus name them too."""
    paths = live.get("/openapi.json").json()["paths"]
    uploads = {path for path, methods in paths.items() if "multipart/form-data" in str(methods.get("post", {}))}
    assert uploads == set(metrics.WORK_ENDPOINTS)
