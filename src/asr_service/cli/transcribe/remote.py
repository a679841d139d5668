"""`asr-service transcribe --server`: transcribe with a running service."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from asr_service.cli.shared_options import API_KEY_VARIABLE
from asr_service.cli.transcribe.types import FormFields
from asr_service.client import ApiKeyRejected, AuthorityUnknown, JobTranscriber, ServerUnusable, ServiceClient, connect
from asr_service.transcript import Segment, Transcript


class RemoteRecognizer:
    """Sends every recording with the same options, and from its start: a service continues no earlier request."""

    resume_key: str | None = None

    def __init__(
        self, client: ServiceClient | JobTranscriber, fields: FormFields, *, rejected: str, untrusted: str
    ) -> None:
        """`rejected` is the error if the service rejects the API key, `untrusted` the advice about its certificate."""
        self._client = client
        self._fields = fields
        self._rejected = rejected
        self._untrusted = untrusted

    async def transcribe(
        self,
        file: BinaryIO,
        earlier: Sequence[Segment] = (),  # noqa: ARG002 - there are none without a resume_key
    ) -> AsyncGenerator[Segment | Transcript]:
        try:
            async with aclosing(self._client.transcribe(file, self._fields)) as events:
                async for event in events:
                    yield event
        except ApiKeyRejected as error:
            raise ServerUnusable(self._rejected) from error
        except AuthorityUnknown as error:
            raise ServerUnusable(f"{error.message} {self._untrusted}") from error


@asynccontextmanager
async def remote_recognizer(
    url: str, api_key: str | None, fields: FormFields, ca_file: Path | None = None, *, as_jobs: bool = False
) -> AsyncIterator[RemoteRecognizer]:
    """Open a recognizer that uses the service at `url`.

    `ca_file` and `as_jobs` as in `connect`, whose errors it raises.
    """
    rejected = f"{url} rejected the API key. Check --api-key or {API_KEY_VARIABLE}."
    if not api_key:
        rejected = f"{url} refused a request without an API key. Pass one with --api-key or {API_KEY_VARIABLE}."
    untrusted = "If a private authority signed it, pass the authority's certificate with --ca-file."
    if ca_file is not None:
        untrusted = f"--ca-file {ca_file} is not the certificate of the authority that signed it."
    async with connect(url, api_key, ca_file=ca_file, as_jobs=as_jobs) as client:
        yield RemoteRecognizer(client, fields, rejected=rejected, untrusted=untrusted)
