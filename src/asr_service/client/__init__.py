"""HTTP client of this service: the command line and programs that submit recordings use it."""

from asr_service.client.as_job import JobTranscriber
from asr_service.client.errors import ApiKeyRejected, AuthorityUnknown, RecordingRefused, ServerUnusable
from asr_service.client.jobs import JobsClient, RemoteJob, connect_to_jobs
from asr_service.client.service import ServiceClient, connect

__all__ = [
    "ApiKeyRejected",
    "AuthorityUnknown",
    "JobTranscriber",
    "JobsClient",
    "RecordingRefused",
    "RemoteJob",
    "ServerUnusable",
    "ServiceClient",
    "connect",
    "connect_to_jobs",
]
