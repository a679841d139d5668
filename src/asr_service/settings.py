"""All settings. `make docs` writes `.env.example` and docs/settings.md from this file."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from asr_service.env_file import read_env_file
from asr_service.errors import ConfigurationError
from asr_service.setting_types import (
    CACHE_IN_MEMORY,
    CacheUrl,
    Endpoints,
    FilesPlace,
    Fraction,
    Networks,
    Origins,
    PositiveInt,
    PositiveSeconds,
    RedisUrl,
    RootPath,
)
from asr_service.validation import TextFields, describe_errors

PREFIX = "ASR_"
_REMOVED = {
    "ASR_METRICS_NEED_KEY": "ASR_METRICS_INSIDE=none requires an API key at /metrics from every client.",
}
"""Settings of earlier versions, and what replaces them."""


class Settings(TextFields, BaseSettings):
    """The settings of a service, read once at start by `load_settings`. Each field is the variable ASR_FIELD."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    # -- the address
    host: str = "127.0.0.1"
    """Address to listen on, for one slot. `0.0.0.0` makes the service reachable from the network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port to listen on, for one slot. `0` takes a free port and logs it."""
    socket_dir: Path | None = None
    """Directory of the unix sockets of several slots (`slot-0.sock`, ...) and of shared files. By default
    $RUNTIME_DIRECTORY, else `asr-service` in $XDG_RUNTIME_DIR, else `asr-service-UID` in the temporary directory."""

    root_path: RootPath | None = None
    """Path before every endpoint, such as `/asr`, if a proxy publishes the service there and does not remove it. A
    proxy that removes it can name it in X-Forwarded-Prefix instead, for the servers in /openapi.json."""

    # -- the model
    model: str = "auto"
    """A name that `asr-service models list` shows, or a directory with a model in CTranslate2's format. `auto` is
    large-v3 if the memory of the CUDA device is large enough, else base."""
    model_aliases: str | None = None
    """Further names by which clients of OpenAI's API may ask for the loaded model, separated by commas. `*` accepts
    every name, `none` only the model's own ones. Not set: the default names of such clients, which are whisper-1,
    gpt-transcribe, gpt-4o-transcribe, gpt-4o-mini-transcribe, gpt-4o-mini-transcribe-2025-12-15,
    gpt-4o-transcribe-diarize, gpt-live-transcribe and gpt-realtime-whisper."""
    compute_type: Literal[
        "auto", "int8", "int8_float16", "int8_bfloat16", "int8_float32", "float16", "bfloat16", "float32"
    ] = "auto"
    """Precision of weights and computation. `auto` is int8_float16 on CUDA and int8 on a CPU."""
    devices: str = "auto"
    """Devices, with one slot (worker process) for each: `cpu`, `cuda:0,cuda:1`. A device that is named twice gets two
    slots. `auto` means every CUDA device or, without one, one slot on the CPU."""
    model_dir: Path | None = None
    """Directory of downloaded models. By default the cache of the Hugging Face hub (HF_HOME)."""
    offline: bool = False
    """Never download a model; use only those on the disk. HF_HUB_OFFLINE=1 has the same effect."""
    model_load_timeout_s: PositiveSeconds = 300
    """Maximum time to load the model. A slot that takes longer is restarted."""

    # -- the engine
    model_threads: PositiveInt | None = None
    """Threads of one slot that run the model in parallel. By default 1 on CUDA; on a CPU the number of cores divided by
    the CPU slots, at most 8. A CPU slot has one more thread for live work and the first windows of requests."""
    encode_batch: PositiveInt | None = None
    """Maximum encoder batch size, in windows. By default 8 on CUDA, fewer if the GPU's memory is small, and 1 on a CPU,
    where larger batches are slower."""
    decode_batch: PositiveInt | None = None
    """Maximum decoder batch size, in windows. By default 16 on CUDA, fewer if the GPU's memory is small. On a CPU it
    depends on their length: four clips of 4 s, two of 14 s, or one longer window."""
    encoder_context: Literal["short", "full"] | None = None
    """Length of the encoder's input. `short`: the speech and a margin, with a retry at 20 s if the model is not sure of
    the text, and at the full 30 s if the text fails a check. `full`: always 30 s. By default `short` on a CPU, where it
    saves work, and `full` on CUDA, where a batch needs windows of one length."""
    encoder_margin_s: Annotated[float, Field(ge=0, le=30)] = 6.0
    """Seconds of audio after the speech in a short context, so that the decoder sees the end of the speech. Smaller is
    faster; docs/performance.md has the measured error rates. Recordings with several windows use 2.5 s at most."""
    chunk_length_s: Annotated[float, Field(ge=5, le=30)] | None = None
    """Maximum speech in one window, in seconds. By default 30. A recording of more than a minute, or with more than
    30 s of speech, is divided into sections of about a minute of speech. The windows of a section are decoded in order,
    and the text before a window is in its prompt; with short contexts they have at most 22 s. If you set this limit,
    there are no sections. Then all windows of a recording may be decoded at a time, but more words are wrong. Only
    `condition_on_previous_text` then puts earlier text into the prompt."""
    block_length_s: Annotated[float, Field(ge=60, le=600)] = 300
    """Maximum decoded audio of one request in memory, in seconds."""

    # -- defaults of requests
    language: str | None = None
    """Language of the speech, as a code or a name; `zh-Hans`, `zh-TW` and so on also choose a script. By default it is
    detected in each recording."""
    beam_size: Annotated[int, Field(ge=1, le=10)] = 5
    """Beam width."""
    initial_prompt: str | None = None
    """Text that sets spelling and style. The model sees it before each window, as if it were the preceding
    transcript."""
    max_new_tokens: Annotated[int, Field(ge=1, le=448)] = 448
    """Maximum tokens generated per window."""
    timestamps: bool = True
    """Generate segment timestamps. Without them, each window is one segment."""
    word_timestamps: bool = False
    """Add start and end times to each word."""
    vad_filter: bool = True
    """Skip audio without speech (voice activity detection)."""
    vad_threshold: Fraction = 0.5
    """Minimum speech probability for audio to count as speech."""
    min_silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] = 2000
    """Minimum silence that ends a span of speech."""

    # -- access
    api_keys: SecretStr | None = None
    """API keys, as entries `NAME:sha256:HASH` separated by commas; `asr-service keys new NAME` creates one. Without
    keys, here or in ASR_API_KEYS_FILE, everyone who can reach the service can use it."""
    api_keys_file: Path | None = None
    """File with more entries, one per line; `#` begins a comment. SIGHUP reads it again."""
    metrics_inside: Networks = "127.0.0.0/8,::1"
    """Addresses and networks, separated by commas, that can read /metrics without an API key. Other clients need a key
    if the service has keys, because metrics contain their names. A client on a Unix socket needs none: Nginx restricts
    /metrics itself. With `none` every client needs a key, also on a Unix socket."""
    key_concurrent_requests: PositiveInt | None = None
    """Maximum open requests of one API key, in all slots of this machine together; more get a 429. A key's entry can
    set another number with `concurrent_requests=`, or `none`."""
    key_audio_s_per_minute: PositiveSeconds | None = None
    """Maximum seconds of audio per minute that one API key can send, to all slots of this machine together; more gets a
    429. A key's entry can set another number with `audio_s_per_minute=`, or `none`."""
    key_usage_dir: Path | None = None
    """Directory in which the slots share the usage of each API key, best on tmpfs. By default it is next to the
    sockets. Its usage files are deleted at start."""
    cors_origins: Origins | None = None
    """Origins of web pages that may call the service from a browser, such as `https://app.example.com`, separated by
    commas, or `*` for all. By default none."""

    # -- results that are kept
    cache_url: CacheUrl | None = None
    """Where transcripts are kept, so that an equal recording with equal options is not transcribed again: `memory` (of
    each slot), a directory on a local disk (for the slots of a machine), or a Redis for several machines:
    `redis://USER:PASSWORD@HOST:6379/0`, `rediss://...`, `unix:///path/redis.sock`. Answers for retries with the same
    Idempotency-Key are then kept there too. By default no transcript is kept."""
    cache_shared: bool = False
    """Answer with transcripts of all callers. By default an API key gets only those of its own requests: an early
    answer shows that somebody has sent the same recording before."""
    cache_max_bytes: PositiveInt = 256 * 1024**2
    """Maximum size of the cache in a directory, or in the memory of each slot. What was not used for longest is dropped
    first. Redis has a limit of its own, `maxmemory`."""
    cache_ttl_s: PositiveSeconds = 7 * 24 * 3600
    """Maximum time that a transcript is kept in the cache."""
    idempotency_window_s: PositiveSeconds = 600
    """How long an answer is kept for retries with the same Idempotency-Key."""
    idempotency_max_bytes: PositiveInt = 64 * 1024**2
    """Maximum size of all answers that a slot keeps for retries. The oldest are dropped first."""

    # -- the page
    page: bool = True
    """Show the page for people at `/`. With `off`, `/` does not exist."""
    page_name: Annotated[str, Field(max_length=60)] | None = None
    """Name of the service on its page, in place of *Speech to text*."""
    page_note: Annotated[str, Field(max_length=500)] | None = None
    """Note to the people who use the page, such as where their recordings are processed. Plain text."""

    # -- webhooks
    webhook_secret: SecretStr | None = None
    """Secret that signs webhooks, `whsec_` and base64, or two with a comma between them while receivers change to the
    first. `asr-service webhooks secret` makes one. Without a secret, a job cannot have a webhook."""
    webhook_allow_networks: Networks | None = None
    """Addresses and networks, separated by commas, that webhooks can reach although they are not public, also by plain
    HTTP. By default none: a webhook goes to public addresses by HTTPS."""

    # -- jobs
    state_dir: Path | None = None
    """Directory on a local disk for the jobs of /jobs: their records, recordings and transcripts. It outlives restarts,
    and all slots of a machine share it. `make run` sets `.state`. Without it and without ASR_JOBS_URL, /jobs answers
    501."""
    jobs_url: RedisUrl | None = None
    """Redis that keeps the records of the jobs of several machines, such as `redis://user:password@host:6379/0`,
    `rediss://...` with TLS or `unix:///run/redis/redis.sock`. Needs ASR_JOBS_FILES and the extra
    `cluster`, which the lock files include. By default the records are in ASR_STATE_DIR, for one machine."""
    jobs_files: FilesPlace | None = None
    """Place of the recordings and transcripts of jobs: a directory that exists, which several machines may share, or
    `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. By default a directory in ASR_STATE_DIR.
    Services that share no jobs need different places: each deletes old files that its own jobs do not have."""
    redis_prefix: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]+$")] = "asr"
    """First part of the keys in Redis. Services that share a Redis, but no jobs and no results, need different ones."""
    jobs_retention_s: PositiveSeconds = 7 * 24 * 3600
    """How long the transcript of an ended job is kept. Its recording is deleted when it ends."""
    jobs_max_waiting: PositiveInt = 1000
    """Maximum waiting jobs of one API key, or of all callers together without keys; more get a 429."""
    jobs_max_kept: PositiveInt = 1_000_000
    """Maximum jobs of one API key in any state; more get a 429. The record of a job is deleted twice
    ASR_JOBS_RETENTION_S after its end, or by DELETE. It takes 1 kB in SQLite and 2 kB of memory in Redis."""
    jobs_max_bytes: PositiveInt = 50 * 1024**3
    """Maximum size of the recordings and transcripts of all jobs of one API key; more get a 429."""

    jobs_runner: Literal["slots", "workers"] = "slots"
    """What runs the jobs and sends their webhooks: the slots, or the processes of `asr-service worker`, which need
    ASR_JOBS_URL."""

    # -- job workers
    service_url: Endpoints | None = None
    """Where `asr-service worker` finds the services: the URL of their load balancer or of one service, or `unix:/PATH`
    of a slot's socket. Several, separated by commas, are used in turn."""
    service_key: SecretStr | None = None
    """API key of the job worker, if the services have keys. `asr-service keys new NAME --worker` makes one."""
    worker_concurrency: PositiveInt = 16
    """Maximum jobs that a job worker runs at a time. A slot takes at most twice as many as fill its batches,
    or four times as many clips, and refuses others for the moment."""
    worker_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port, at ASR_HOST, of the /metrics of a job worker. By default none."""

    # -- limits
    max_upload_bytes: PositiveInt = 2 * 1024**3
    """Maximum size of an upload; larger ones get a 413."""
    max_audio_s: PositiveSeconds = 24 * 3600
    """Maximum length of a recording; longer ones get a 413."""
    upload_timeout_s: PositiveSeconds = 30
    """Maximum time without data during an upload; then it gets a 408. Also the maximum time that an upload waits while
    its caller has the maximum of uploads under way."""
    upload_min_bytes_per_s: PositiveInt = 1000
    """Minimum average speed of an upload that has taken longer than ASR_UPLOAD_TIMEOUT_S; slower ones get a 408."""
    request_timeout_s: PositiveSeconds = 300
    """Deadline of a buffered answer, and maximum time between two parts of a streamed one. The time-outs of Gunicorn,
    Nginx and systemd are derived from it."""
    max_open_requests: PositiveInt = 64
    """Maximum open requests in one slot, uploads included; more get a 503. Half of them is the maximum of uploads that
    one caller (an API key or an address) has under way and, while there are other callers, of its open requests."""
    max_queued_audio_s: PositiveSeconds = 7200
    """Maximum seconds of speech that wait for the model in one slot; above it, new requests get a 503. One recording
    can be longer: only decoded and waiting audio counts."""
    max_wait_s: PositiveSeconds = 120
    """Maximum expected wait, estimated from the measured speed; above it, new requests get a 503."""
    decoders: PositiveInt | None = None
    """Maximum files that a slot decodes in parallel; the others wait. By default the number of cores."""
    decoder_memory_bytes: PositiveInt = 1024**3
    """Maximum address space of one decoder process."""
    decoder_sandbox: Literal["warn", "require"] = "warn"
    """What happens where the kernel refuses a restriction of the decoder processes: `warn` logs a warning, `require`
    refuses to start. `asr-service doctor` lists the restrictions."""

    # -- logs and metrics
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level of log lines."""
    log_format: Literal["auto", "json", "plain"] = "auto"
    """`auto` is plain on a terminal and JSON elsewhere."""
    log_transcripts: bool = False
    """Log transcripts. Without it, no log line contains a word of any recording."""
    metrics_dir: Path | None = None
    """Directory in which the worker processes share their metrics, best on tmpfs. By default it is next to the
    sockets. Its metrics files are deleted at start."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes all sources by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but the arguments: `load_settings` reads the variables, or takes the caller's."""
        return (init_settings,)


def cache_directory(settings: Settings) -> Path | None:
    """Return the directory in ASR_CACHE_URL; None if it is another place."""
    url = "" if settings.cache_url is None else settings.cache_url.get_secret_value()
    return None if not url or url == CACHE_IN_MEMORY or "://" in url else Path(url)


def given_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that begin with ASR_, by upper-case name.

    They come from `environ` alone. By default they come from the process's environment and from `.env`; the
    environment takes precedence.

    Raises ConfigurationError: when `.env` cannot be read.
    """
    if environ is None:
        environ = read_env_file(PREFIX) | dict(os.environ)
    return {name.upper(): value for name, value in environ.items() if name.upper().startswith(PREFIX)}


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from `given_variables(environ)`. An empty variable counts as unset.

    `overrides` are values by field name, and take precedence unless they are None.

    Raises ConfigurationError: when a variable is unknown (the message has the nearest name) or its value is invalid.
    The message has all mistakes.
    """
    variables = given_variables(environ)
    unknown = sorted(variables.keys() - {PREFIX + field.upper() for field in Settings.model_fields})
    mistakes = {name: _describe_unknown(name) for name in unknown}
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in variables.items() if value}
    try:
        settings = Settings(**(source() | {name: value for name, value in overrides.items() if value is not None}))
    except ValidationError as error:
        mistakes |= describe_errors(Settings, error, PREFIX)
        raise _mistaken(mistakes) from error
    if mistakes:
        raise _mistaken(mistakes)
    return settings


def _describe_unknown(name: str) -> str:
    if name in _REMOVED:
        return f"There is no setting {name} any longer. {_REMOVED[name]}"
    near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), Settings.model_fields, n=1, cutoff=0.7)
    hint = f"Did you mean {PREFIX}{near[0].upper()}?" if near else "`asr-service settings` lists all settings."
    return f"There is no setting {name}. {hint}"


def _mistaken(mistakes: Mapping[str, str]) -> ConfigurationError:
    """Return the error for one or several mistakes, by the names of their variables."""
    first = next(iter(mistakes))
    if len(mistakes) == 1:
        return ConfigurationError(mistakes[first], param=first)
    text = "\n".join([f"{len(mistakes)} settings are wrong:", *(f"  {each}" for each in mistakes.values())])
    return ConfigurationError(text, param=first)
