"""Every failure that a caller can meet, as a type.

::

    AsrError
    ├── RequestError                 the caller's to mend
    │   ├── MalformedRequest         the form cannot be read
    │   ├── InvalidParameter         a field's value is refused; `param` names it
    │   ├── ModelNotFound            another model than the one that is loaded
    │   ├── UploadTooLarge           more bytes than ASR_MAX_UPLOAD_BYTES
    │   ├── AudioTooLong             more seconds than ASR_MAX_AUDIO_S
    │   ├── UploadTooSlow            the body stopped coming
    │   ├── MissingKey               the service asks for an API key, and none came
    │   ├── WrongKey                 a key came that is none of ours
    │   ├── KeyLimitReached          the key uses as much as it may; try again after `retry_after_s`
    │   │   ├── ConcurrencyLimit     as many requests are open as may be
    │   │   └── AudioLimit           as many seconds of audio were transcribed as may be
    │   ├── PageRefused              a page that may not call from a browser
    │   ├── IdempotencyConflict      an Idempotency-Key came before with another request
    │   ├── UnsupportedAudio         not audio, or not a kind that is taken
    │   └── UndecodableAudio         audio by its looks, and nothing of it decodes
    ├── Unavailable                  try again after `retry_after_s`
    │   ├── Overloaded               as much work is queued as may be
    │   ├── NotReady                 loading, draining or broken
    │   └── EngineStopped            the engine ended under an accepted request
    ├── DeadlineExceeded             the request outlived ASR_REQUEST_TIMEOUT_S
    ├── ClientGone                   nobody is left to answer
    ├── InferenceFailed              the model failed on this audio, alone and again
    └── StartupError                 the process cannot serve; `exit_code` says why
        ├── ConfigurationError
        │   └── DeviceUnavailable    a GPU that is named is not there
        └── ModelUnavailable

What a failure is over HTTP (status, headers, body) is known to `api.problems` alone.
"""

from typing import ClassVar


class AsrError(Exception):
    """The root. `code` is for programs, the message for people: it says what to do."""

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
    """The caller's own limit. `retry_after_s` is at least 1."""

    code = "key_limit_reached"  # its kinds have their own

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(retry_after_s, 1.0)


class ConcurrencyLimit(KeyLimitReached):
    code = "concurrency_limit_reached"


class AudioLimit(KeyLimitReached):
    code = "audio_limit_reached"


class PageRefused(RequestError):
    code = "page_refused"


class IdempotencyConflict(RequestError):
    code = "idempotency_conflict"


class UnsupportedAudio(RequestError):
    code = "unsupported_audio"


class UndecodableAudio(RequestError):
    code = "undecodable_audio"


class Unavailable(AsrError):
    """Not the caller's fault and not for ever. `retry_after_s` is 1 to 120."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = min(max(retry_after_s, 1.0), 120.0)


class Overloaded(Unavailable):
    code = "overloaded"


class NotReady(Unavailable):
    code = "not_ready"


class EngineStopped(Unavailable):
    code = "engine_stopped"


class DeadlineExceeded(AsrError):
    code = "deadline_exceeded"


class ClientGone(AsrError):
    code = "client_gone"


class InferenceFailed(AsrError):
    code = "inference_failed"


class StartupError(AsrError):
    code = "startup_failed"
    exit_code: ClassVar[int] = 1


class ConfigurationError(StartupError):
    """A setting is wrong. 78 is EX_CONFIG of sysexits.h."""

    code = "configuration"
    exit_code = 78


class DeviceUnavailable(ConfigurationError):
    """The setting may be right: a driver that is not loaded yet, or a GPU that comes back. So it may be tried again."""

    exit_code = 69


class ModelUnavailable(StartupError):
    """No model could be had. 69 is EX_UNAVAILABLE of sysexits.h."""

    code = "model_unavailable"
    exit_code = 69
