"""All metrics, with their help texts and buckets.

Worker processes share them through files (PROMETHEUS_MULTIPROC_DIR, set before this module is imported). Therefore Info
and custom collectors cannot be used, and gauges need a `live*` mode, so that a gauge is dropped when its process ends.
https://prometheus.github.io/client_python/multiprocess/
"""

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from asr_service import __version__, errors

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_DURATIONS_S = (0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_STAGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter("asr_requests_total", "Requests answered.", ["endpoint", "code"])
FAILURES = Counter("asr_request_failures_total", "Requests without a transcript, by reason.", ["reason"])
REQUEST_DURATION = Histogram(
    "asr_request_duration_seconds",
    "Time from the first byte received to the last byte sent.",
    ["endpoint"],
    buckets=_DURATIONS_S,
)
STAGE_DURATION = Histogram(
    "asr_stage_duration_seconds", "Time of one stage of a request.", ["stage"], buckets=_STAGES_S
)
QUEUE_DEPTH = Gauge("asr_queue_depth", "Windows waiting for the model.", ["slot"], multiprocess_mode="livesum")
QUEUE_AUDIO = Gauge(
    "asr_queue_audio_seconds", "Seconds of audio waiting for the model.", ["slot"], multiprocess_mode="livesum"
)
QUEUE_AGE = Gauge(
    "asr_queue_age_seconds",
    "Waiting time of the oldest waiting window.",
    ["slot"],
    multiprocess_mode="livemax",
)
INFLIGHT = Gauge("asr_inflight_requests", "Requests in progress.", ["slot"], multiprocess_mode="livesum")
SLOT_READY = Gauge("asr_slot_ready", "1 if the slot accepts requests, else 0.", ["slot"], multiprocess_mode="livemax")
KEY_REQUESTS = Counter("asr_key_requests_total", "Requests answered, by the name of the API key.", ["key", "code"])
KEY_AUDIO_SECONDS = Counter(
    "asr_key_audio_seconds_total", "Seconds of audio received, by the name of the API key.", ["key"]
)
KEY_LIMITED = Counter(
    "asr_key_limited_total", "Requests refused because of a limit of the API key (requests or audio).", ["key", "limit"]
)
WEBSOCKETS_CLOSED = Counter("asr_websockets_closed_total", "WebSockets that were closed, by close code.", ["code"])
BATCH_SIZE = Histogram(
    "asr_batch_size", "Windows in one model call.", ["stage"], buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
)
AUDIO_SECONDS = Counter("asr_audio_seconds_total", "Seconds of audio transcribed.")
LONG_RECORDING_S = 10.0
"""Requests with shorter recordings can take longer than their recordings although nothing is slow."""
REALTIME_FACTOR = Histogram(
    "asr_realtime_factor",
    "Duration of a request divided by the duration of its recording; long recordings have at least 10 s.",
    ["length"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
)
FALLBACKS = Counter("asr_fallbacks_total", "Windows decoded again, by reason.", ["reason"])
GPU_MEMORY_USED = Gauge(
    "asr_gpu_memory_used_bytes", "GPU memory in use by all processes.", ["gpu"], multiprocess_mode="livemax"
)
GPU_MEMORY_TOTAL = Gauge("asr_gpu_memory_total_bytes", "Total GPU memory.", ["gpu"], multiprocess_mode="livemax")
GPU_UTILIZATION = Gauge(
    "asr_gpu_utilization_ratio", "Fraction of time in which the GPU was busy.", ["gpu"], multiprocess_mode="livemax"
)
GPU_TEMPERATURE = Gauge("asr_gpu_temperature_celsius", "Temperature of the GPU.", ["gpu"], multiprocess_mode="livemax")
MODEL_LOAD = Gauge(
    "asr_model_load_seconds", "Time to load and warm up the model.", ["slot"], multiprocess_mode="livemax"
)
WORKER_RESTARTS = Counter("asr_worker_restarts_total", "Workers that replaced one that had ended.", ["slot"])
WORKER_RSS = Gauge(
    "asr_worker_rss_bytes", "Resident memory of the worker process.", ["slot"], multiprocess_mode="livesum"
)
WINDOW_MEMORY = Gauge(
    "asr_window_memory_bytes",
    "Host memory reserved for the windows that are being decoded: samples, features and encodings.",
    ["slot"],
    multiprocess_mode="livesum",
)
DECODER_RESTRICTION = Gauge(
    "asr_decoder_restriction",
    "1 if the restriction of the decoder processes is in effect, 0 if it is not.",
    ["restriction"],
    multiprocess_mode="livemin",
)
DECODER_FAILURES = Counter(
    "asr_decoder_failures_total",
    "Decoder processes that failed through no fault of their file: interrupted (killed, stopped, out of memory), bug.",
    ["reason"],
)
JOBS = Gauge(
    "asr_jobs",
    "Jobs by status. store is shared if all machines have the same jobs and export the same numbers, else local.",
    ["status", "store"],
    multiprocess_mode="livemax",
)
JOBS_OLDEST = Gauge(
    "asr_jobs_oldest_waiting_seconds",
    "Age of the oldest waiting job; 0 without one. store is shared or local, as in asr_jobs.",
    ["store"],
    multiprocess_mode="livemax",
)
DAMAGED_RECORDS = Counter(
    "asr_damaged_records_total",
    "Damaged records of jobs, webhook deliveries and segments that a process has found, counted once for each job or "
    "delivery.",
    ["kind"],
)
JOB_ATTEMPTS = Counter(
    "asr_job_attempts_total",
    "Attempts at jobs that ended, by outcome: succeeded, failed, retried, lost (their process ended), stopped "
    "(cancelled).",
    ["outcome"],
)
WEBHOOK_ATTEMPTS = Counter(
    "asr_webhook_attempts_total",
    "Attempts to deliver webhooks, by outcome: delivered, retry (another follows), rejected (by the receiver, or its "
    "address may not be called), given_up (the last attempt failed).",
    ["outcome"],
)
CACHE_REQUESTS = Counter(
    "asr_cache_requests_total",
    "Requests and jobs by the cache of results: hit, miss, bypass (the client asked for a new transcript).",
    ["outcome"],
)
CACHE_ERRORS = Counter(
    "asr_cache_errors_total",
    "Failed calls of the cache of results (unavailable), and values in it that could not be read (unreadable).",
    ["reason"],
)
CACHE_BYTES = Gauge(
    "asr_cache_bytes",
    "Size of the cache of results. The slot is `machine` for a directory, which the slots of a machine share, and "
    "`shared` for Redis, whose other data counts too.",
    ["slot"],
    multiprocess_mode="livemax",
)
CACHE_OUTCOMES = ("hit", "miss", "bypass")
CACHE_FAULTS = ("unavailable", "unreadable")
LIVE_SESSIONS = Gauge("asr_live_sessions", "Open live sessions.", ["slot"], multiprocess_mode="livesum")
LIVE_PLACES = Gauge(
    "asr_live_places",
    "Live sessions that the model can serve at its measured speed. Further ones are refused.",
    ["slot"],
    multiprocess_mode="livesum",
)
LIVE_REFUSED = Counter(
    "asr_live_refused_total", "Live sessions refused, because the model cannot serve one more at its measured speed."
)
LIVE_GIVEN_UP = Counter(
    "asr_live_given_up_total",
    "Live sessions ended to make room for another one, by reason: silent (no audio for a minute), yielded (their "
    "caller had more sessions than the other one).",
    ["reason"],
)
LIVE_TURNS = Counter("asr_live_turns_total", "Turns of live sessions that ended, by outcome.", ["outcome"])
LIVE_PARTIALS = Counter(
    "asr_live_partials_total",
    "Decodings of unfinished turns: decoded, or dropped (too late, or the turn had ended).",
    ["outcome"],
)
LIVE_DELAYED = Counter(
    "asr_live_partials_delayed_total",
    "Decodings of unfinished turns that waited longer than the delay of their session, because many people spoke.",
)
LIVE_WORDS = Counter(
    "asr_live_words_total",
    "Words of unfinished turns, by outcome: sent, and taken_back (sent, but not in the final text).",
    ["outcome"],
)
LIVE_FINAL_DELAY = Histogram(
    "asr_live_final_delay_seconds",
    "Time from the end of speech in a live session to the final text, with the silence that ends the turn.",
    buckets=(0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10, 30),
)
WORK_ENDPOINTS = (
    "/transcribe",
    "/translate",
    "/detect-language",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/jobs",
)
"""The endpoints that accept a recording."""
FAULTS = (
    "internal_error",
    errors.InferenceFailed.code,
    errors.DecoderFailed.code,
    errors.EngineStopped.code,
    errors.NotReady.code,
    errors.Overloaded.code,
    errors.CallerLimit.code,
    errors.Unavailable.code,
    errors.DeadlineExceeded.code,
)
"""The reasons of failures that are not the client's."""
DAMAGED_KINDS = ("job", "delivery", "segment")
JOB_OUTCOMES = ("succeeded", "failed", "retried", "lost", "stopped")
WEBHOOK_OUTCOMES = ("delivered", "retry", "rejected", "given_up")
BUILD_INFO = Gauge(
    "asr_build_info",
    "1; the labels describe what runs.",
    ["version", "model", "compute_type", "device"],
    multiprocess_mode="livemax",
)


def build_info(model: str, compute_type: str, device: str) -> None:
    """Publish the version, model, precision and device as labels of `asr_build_info`."""
    BUILD_INFO.labels(__version__, model, compute_type, device).set(1)


def show_failure_counters() -> None:
    """Publish the counters of failures with the value 0: a rate does not see the step to a first sample."""
    for endpoint in WORK_ENDPOINTS:
        for code in ("500", "503", "504"):
            REQUESTS.labels(endpoint, code)
    for reason in FAULTS:
        FAILURES.labels(reason)


def show_job_counters() -> None:
    """Publish the counters of jobs and webhooks with the value 0, as `show_failure_counters` does."""
    for outcome in JOB_OUTCOMES:
        JOB_ATTEMPTS.labels(outcome)
    for outcome in WEBHOOK_OUTCOMES:
        WEBHOOK_ATTEMPTS.labels(outcome)
    for kind in DAMAGED_KINDS:
        DAMAGED_RECORDS.labels(kind)


def show_cache_counters() -> None:
    """Publish the counters of the cache with the value 0, as `show_failure_counters` does."""
    for outcome in CACHE_OUTCOMES:
        CACHE_REQUESTS.labels(outcome)
    for fault in CACHE_FAULTS:
        CACHE_ERRORS.labels(fault)


def render() -> bytes:
    """Return the metrics of all live workers in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
