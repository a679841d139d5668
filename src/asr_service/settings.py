"""Every setting there is. `.env.example` and docs/settings.md are made from this file."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from asr_service.errors import ConfigurationError
from asr_service.validation import describe_error

PREFIX = "ASR_"
ENV_FILE = ".env"

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")


def _check_origins(given: str) -> str:
    for origin in given.split(","):
        if origin.strip() != "*" and not _ORIGIN.fullmatch(origin.strip()):
            raise ValueError(f"{origin.strip()!r} is not an origin such as https://app.example.com in lower case, or *")
    return given


class Settings(BaseModel):
    """Read once at start from ASR_* variables (and a `.env` file), and never changed after."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    # -- the address
    host: str = "127.0.0.1"
    """Address to listen on, with one slot. `0.0.0.0` opens the service to the network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port to listen on, with one slot; 0 takes a free one and logs it."""
    socket_dir: Path | None = None
    """Where the unix sockets of several slots are made (`slot-0.sock`, ...) and metrics are shared; by default
    $RUNTIME_DIRECTORY, else `asr-service` under $XDG_RUNTIME_DIR, else `asr-service-UID` in the temporary directory."""

    # -- the model
    model: str = "auto"
    """A name of `asr-service models list`, or a folder in CTranslate2's form. `auto` is large-v3 where a CUDA
    device has room for it, else base."""
    compute_type: Literal[
        "auto", "int8", "int8_float16", "int8_bfloat16", "int8_float32", "float16", "bfloat16", "float32"
    ] = "auto"
    """Precision of the weights and sums. `auto` is int8_float16 on CUDA and int8 on a CPU."""
    devices: str = "auto"
    """One slot (worker process) a device: `cpu`, `cuda:0,cuda:1`; a device named twice gets two slots. `auto` is
    every CUDA device, else one CPU slot."""
    model_dir: Path | None = None
    """Where models are kept; by default the hub's own cache (HF_HOME)."""
    offline: bool = False
    """Never fetch a model; use what is on the disk. HF_HUB_OFFLINE=1 does the same."""
    model_load_timeout_s: PositiveSeconds = 300
    """A slot whose model has not loaded by then gives up and is started again."""

    # -- the engine
    model_threads: PositiveInt | None = None
    """Threads that run the model side by side in one slot. By default one on CUDA; on a CPU the number of cores divided
    by the CPU slots, at most 8. A CPU slot has one more thread for the first windows of requests."""
    encode_batch: PositiveInt | None = None
    """Maximum encoder batch size, in windows. By default 8 on CUDA, fewer if the GPU's memory is small, and 1 on a CPU,
    where more are slower."""
    decode_batch: PositiveInt | None = None
    """Maximum decoder batch size, in windows. By default 16 on CUDA, fewer if the GPU's memory is small. On a CPU it
    depends on their length: four clips of 5 s, two of 14 s, or one longer window."""
    encoder_context: Literal["short", "full"] | None = None
    """`short` gives the encoder only the speech and a margin, and the whole 30 s window again where a rule is broken;
    `full` always gives it 30 s. By default `short` on a CPU, whose work it halves, and `full` on CUDA, where only
    windows of one length can share a call."""
    encoder_margin_s: Annotated[float, Field(ge=0, le=30)] = 2.5
    """Quiet after the speech that a short context has, so that the decoder sees where the speech ends. Less is faster;
    docs/performance.md has the error rates measured."""
    chunk_length_s: Annotated[float, Field(ge=5, le=30)] | None = None
    """Most speech that one window holds. By default 30 s; but where contexts are short, recordings of more than a
    minute, or with more speech than that, are cut into windows of 15 s at most, which take a quarter less time."""
    block_length_s: Annotated[float, Field(ge=60, le=600)] = 300
    """Most decoded audio that a request holds in memory at a time."""

    # -- what a request gets where it does not say
    language: str | None = None
    """Language of the speech, a code or an English name; by default detected in each recording."""
    beam_size: Annotated[int, Field(ge=1, le=10)] = 5
    """Hypotheses followed at once."""
    initial_prompt: str | None = None
    """Text that sets spelling and style, as if it had been said before each window."""
    max_new_tokens: Annotated[int, Field(ge=1, le=448)] = 448
    """Most tokens that one window may give."""
    timestamps: bool = True
    """Let the model time its segments. Off, a window is one segment."""
    word_timestamps: bool = False
    """Time each word."""
    vad_filter: bool = True
    """Leave out what holds no speech."""
    vad_threshold: Fraction = 0.5
    """Speech probability above which a moment is speech."""
    min_silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] = 500
    """Silence that ends a stretch of speech."""

    # -- who may call
    api_keys: SecretStr | None = None
    """Keys that callers must show, as entries `NAME:sha256:HASH` with commas between them; `asr-service keys new NAME`
    makes them. Without keys, here or in the file, the service is open to all who reach it."""
    api_keys_file: Path | None = None
    """A file of further entries, one a line; `#` begins a comment. Read again on SIGHUP."""
    metrics_need_key: bool = False
    """Ask for a key at /metrics too. /health, /docs and /openapi.json are open in any case."""
    key_concurrent_requests: PositiveInt | None = None
    """Requests that one key may have open at a time, in all slots of this machine; past it the answer is 429.
    `concurrent_requests=` in a key's entry sets another number, or `none`."""
    key_audio_s_per_minute: PositiveSeconds | None = None
    """Seconds of audio that one key may have transcribed a minute, in all slots of this machine; past it the answer is
    429. `audio_s_per_minute=` in a key's entry sets another number, or `none`."""
    key_usage_dir: Path | None = None
    """Where the slots keep together what each key uses, best on tmpfs; by default a directory beside the sockets.
    Emptied at start."""
    cors_origins: Annotated[str, AfterValidator(_check_origins)] | None = None
    """Web pages that may call from a browser: origins such as `https://app.example.com`, with commas between them, or
    `*` for all. By default none."""

    idempotency_window_s: PositiveSeconds = 600
    """How long an answer is kept for requests that come again with the same Idempotency-Key."""
    idempotency_max_bytes: PositiveInt = 64 * 1024**2
    """Most bytes of answers that a slot keeps for such requests; past it the oldest go."""

    # -- bounds
    max_upload_bytes: PositiveInt = 2 * 1024**3
    """Largest upload; past it the answer is 413."""
    max_audio_s: PositiveSeconds = 24 * 3600
    """Longest recording; past it the answer is 413."""
    upload_timeout_s: PositiveSeconds = 30
    """An upload that brings nothing for so long is given up."""
    upload_min_bytes_per_s: PositiveInt = 1000
    """An upload that has lasted ASR_UPLOAD_TIMEOUT_S and came more slowly than this, on the whole, is given up."""
    request_timeout_s: PositiveSeconds = 300
    """A buffered answer's deadline, and a streamed answer's longest pause. The time-outs of Gunicorn, Nginx and
    systemd are derived from it."""
    max_open_requests: PositiveInt = 64
    """Requests in one slot, uploads included; past it the answer is 503."""
    max_queued_audio_s: PositiveSeconds = 7200
    """Seconds of speech that may wait for the model in one slot before new requests get 503. A single recording may be
    longer: only what is decoded and waiting counts."""
    max_wait_s: PositiveSeconds = 120
    """Expected wait, from the speed measured, past which new requests get 503."""
    decoders: PositiveInt | None = None
    """Files decoded side by side in a slot; the rest wait their turn. By default as many as there are cores."""
    decoder_memory_bytes: PositiveInt = 1024**3
    """Address space of a decoder process."""

    # -- what is seen
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe line logged."""
    log_format: Literal["auto", "json", "plain"] = "auto"
    """`auto` is plain on a terminal and JSON elsewhere."""
    log_transcripts: bool = False
    """Log what was said. Off, no line holds a word of any recording."""
    metrics_dir: Path | None = None
    """Where worker processes share their metrics, best on tmpfs; by default a directory beside the sockets. Wiped at
    start."""


def given_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that begin with ASR_, by upper-case name.

    They come from `environ` alone, or by default from the process's environment and, below it, `.env`.

    Raises ConfigurationError: when `.env` cannot be read.
    """
    if environ is None:
        environ = {name: value or "" for name, value in _dotenv().items()} | dict(os.environ)
    return {name.upper(): value for name, value in environ.items() if name.upper().startswith(PREFIX)}


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from `given_variables(environ)`; `overrides`, by field, take precedence. Empty ones are unset.

    Raises ConfigurationError: when a variable is unknown (the message has the nearest name) or its value is invalid.
    """
    fields = {PREFIX + field.upper(): field for field in Settings.model_fields}
    variables = given_variables(environ)
    for name in sorted(variables.keys() - fields.keys()):
        near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), Settings.model_fields, n=1, cutoff=0.7)
        hint = f"Did you mean {PREFIX}{near[0].upper()}?" if near else "`asr-service settings` lists all settings."
        raise ConfigurationError(f"There is no setting {name}. {hint}", param=name)
    values = {fields[name]: value for name, value in variables.items() if value}
    try:
        return Settings(**(values | overrides))
    except ValidationError as error:
        name = PREFIX + str(error.errors()[0]["loc"][0]).upper()
        raise ConfigurationError(describe_error(Settings, error, name=name), param=name) from error


def _dotenv() -> dict[str, str | None]:
    try:
        return dotenv_values(ENV_FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{ENV_FILE} in the working directory cannot be read: {reason}.", param=ENV_FILE
        ) from error
