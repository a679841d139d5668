"""Errors that a caller of `ServiceClient` handles.

::

    AsrError
    ├── RecordingRefused             this recording failed; others may succeed
    └── StartupError
        └── ServerUnusable           every recording would fail
            ├── ApiKeyRejected       the API key is missing or wrong
            └── AuthorityUnknown     no authority that is trusted here has signed the service's certificate
"""

from asr_service.errors import AsrError, StartupError


class RecordingRefused(AsrError):
    """The service did not transcribe one recording. The message is the service's own if it sent one."""

    code = "refused"


class ServerUnusable(StartupError):
    """No recording can be transcribed at this address. 69 is EX_UNAVAILABLE of sysexits.h."""

    code = "server_unusable"
    exit_code = 69


class ApiKeyRejected(ServerUnusable):
    """The service answered 401."""

    code = "api_key_rejected"


class AuthorityUnknown(ServerUnusable):
    """No authority that is trusted here has signed the service's certificate."""

    code = "authority_unknown"
