"""HTTP client of this service: the command line and programs that submit recordings use it."""

from asr_service.client.errors import ApiKeyRejected, CertificateRejected, RecordingRefused, ServerUnusable
from asr_service.client.service import ServiceClient, connect

__all__ = ["ApiKeyRejected", "CertificateRejected", "RecordingRefused", "ServerUnusable", "ServiceClient", "connect"]
