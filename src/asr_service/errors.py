"""Every error that a caller can receive, as a type.

::

    AsrError
    ├── RequestError                 the request must change
    │   ├── MalformedRequest         the form cannot be parsed
    │   ├── InvalidParameter         a field has an invalid value; `param` names the field
    │   ├── ModelNotFound            the request names a model that is not loaded
    │   ├── UploadTooLarge           more bytes than ASR_MAX_UPLOAD_BYTES
    │   ├── AudioTooLong             more seconds than ASR_MAX_AUDIO_S
    │   ├── UploadTooSlow            the body stalled or came too slowly
    │   ├── MissingKey               the service requires an API key and the request has none
    │   ├── WrongKey                 the API key is invalid
    │   ├── KeyLimitReached          the API key is at a limit; retry after `retry_after_s`
    │   │   ├── ConcurrencyLimit     the key's limit on open requests
    │   │   ├── AudioLimit           the key's limit on seconds of audio
    │   │   └── JobLimit             the key's limit on waiting jobs or on their bytes
    │   ├── WorkerKeyRequired        only the API key of a job worker may do this
    │   ├── PageRefused              a browser asks for a page of another origin
    │   ├── NoWebSocket              the path has no WebSocket
    │   ├── UpgradeRequired          the path has a WebSocket, and the request does not ask for one
    │   ├── SessionExpired           a live session has reached its maximum duration
    │   ├── IdempotencyConflict      the Idempotency-Key was used with another request
    │   ├── JobNotFound              no such job, or it belongs to another API key
    │   ├── NoTranscript             the job has no transcript: it has not ended, or failed
    │   ├── JobExpired               the transcript was deleted after ASR_JOBS_RETENTION_S
    │   ├── EmptyBuffer              a live session's commit without audio
    │   ├── UnsupportedAudio         not audio, or a kind of audio that is not supported
    │   └── UndecodableAudio         looks like audio, but nothing in it decodes
    ├── Unavailable                  retry after `retry_after_s`
    │   ├── Overloaded               the queue is full
    │   │   └── CallerLimit          the caller holds half of the slot's places
    │   ├── NotReady                 the slot is loading, draining or failed
    │   └── EngineStopped            the engine stopped while it held the request
    ├── JobsDisabled                 the operator has set neither ASR_STATE_DIR nor ASR_JOBS_URL
    ├── DeadlineExceeded             the request took longer than ASR_REQUEST_TIMEOUT_S
    ├── ClientGone                   the client disconnected
    ├── InferenceFailed              the model failed on this audio, also when it ran alone
    ├── DecoderFailed                the service's own code failed while it decoded the file
    └── StartupError                 the process cannot serve; `exit_code` says why
        ├── ConfigurationError
        │   └── DeviceUnavailable    a GPU that the settings name is not there
        └── ModelUnavailable

`api.problems` maps each type to an HTTP status and headers. `error_body` is the body of every error response.
"""

from typing import ClassVar, Final


class AsrError(Exception):
    """The base class. `code` is for programs. The message is for people and says what to do."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(AsrError):
    code = "bad_request"


class MalformedRequest(RequestError):
    code = "malformed_request"


class InvalidParameter(RequestError):
    code = "invalid_parameter"


class ModelNotFound(RequestError):
    code = "model_not_found"


class UploadTooLarge(RequestError):
    code = "upload_too_large"


class AudioTooLong(RequestError):
    code = "audio_too_long"


class UploadTooSlow(RequestError):
    code = "upload_too_slow"


class MissingKey(RequestError):
    code = "missing_api_key"


class WrongKey(RequestError):
    code = "invalid_api_key"


class KeyLimitReached(RequestError):
    """A limit of the caller's API key is reached. `retry_after_s` is at least 1."""

    code = "key_limit_reached"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(retry_after_s, 1.0)


class ConcurrencyLimit(KeyLimitReached):
    code = "concurrency_limit_reached"


class AudioLimit(KeyLimitReached):
    code = "audio_limit_reached"


class JobLimit(KeyLimitReached):
    code = "job_limit_reached"


class WorkerKeyRequired(RequestError):
    code = "worker_key_required"


class PageRefused(RequestError):
    code = "page_refused"


class NoWebSocket(RequestError):
    code = "not_found"


class UpgradeRequired(RequestError):
    code = "upgrade_required"


class SessionExpired(RequestError):
    code = "session_expired"


class IdempotencyConflict(RequestError):
    code = "idempotency_conflict"


class JobNotFound(RequestError):
    code = "job_not_found"


class NoTranscript(RequestError):
    code = "no_transcript"


class JobExpired(RequestError):
    code = "job_expired"


class EmptyBuffer(RequestError):
    code = "input_audio_buffer_commit_empty"


class UnsupportedAudio(RequestError):
    code = "unsupported_audio"


class UndecodableAudio(RequestError):
    code = "undecodable_audio"


class Unavailable(AsrError):
    """The service cannot take the request now. `retry_after_s` is 1 to 120."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = min(max(retry_after_s, 1.0), 120.0)


class Overloaded(Unavailable):
    code = "overloaded"


class CallerLimit(Overloaded):
    """One caller holds as many places of the slot as it may, or has as many uploads under way."""

    code = "caller_limit_reached"


class NotReady(Unavailable):
    code = "not_ready"


class EngineStopped(Unavailable):
    code = "engine_stopped"


class JobsDisabled(AsrError):
    code = "jobs_disabled"


class DeadlineExceeded(AsrError):
    code = "deadline_exceeded"


class ClientGone(AsrError):
    code = "client_gone"


class InferenceFailed(AsrError):
    code = "inference_failed"


class DecoderFailed(AsrError):
    code = "decoder_failed"


class StartupError(AsrError):
    code = "startup_failed"
    exit_code: ClassVar[int] = 1


class ConfigurationError(StartupError):
    """A setting is invalid. Exit code 78 is EX_CONFIG of sysexits.h."""

    code = "configuration"
    exit_code = 78


class DeviceUnavailable(ConfigurationError):
    """A device is missing. A retry may help, because a driver may load late or a GPU may return."""

    exit_code = 69


class ModelUnavailable(StartupError):
    """No model could be loaded. Exit code 69 is EX_UNAVAILABLE of sysexits.h."""

    code = "model_unavailable"
    exit_code = 69


_SERVER_ERRORS: Final = 500


def error_type(status: int) -> str:
    """Return the `type` of an error body: `invalid_request_error` below status 500, else `server_error`."""
    return "invalid_request_error" if status < _SERVER_ERRORS else "server_error"


def error_body(status: int, message: str, code: str, param: str | None = None) -> dict[str, dict[str, str | None]]:
    """Return the body of an error response, in the shape that OpenAI's clients parse."""
    return {"error": {"message": message, "type": error_type(status), "param": param, "code": code}}
