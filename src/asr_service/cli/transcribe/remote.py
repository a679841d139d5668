"""`asr-service transcribe --server`: transcribe with a running service."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO

from asr_service.cli.transcribe.types import API_KEY_VARIABLE, Fields
from asr_service.client import ApiKeyRejected, ServerUnusable, ServiceClient, connect
from asr_service.transcript import Segment, Transcript


class RemoteRecognizer:
    """Sends every recording with the same options."""

    def __init__(self, client: ServiceClient, fields: Fields, *, rejected: str) -> None:
        """`rejected` is what to tell the user if the service rejects the API key."""
        self._client = client
        self._fields = fields
        self._rejected = rejected

    async def transcribe(self, file: BinaryIO) -> AsyncGenerator[Segment | Transcript]:
        try:
            async with aclosing(self._client.transcribe(file, self._fields)) as events:
                async for event in events:
                    yield event
        except ApiKeyRejected as error:
            raise ServerUnusable(self._rejected) from error


@asynccontextmanager
async def remote_recognizer(url: str, api_key: str | None, fields: Fields) -> AsyncIterator[RemoteRecognizer]:
    """Open a recognizer that uses the service at `url`."""
    rejected = f"{url} rejected the API key. Check --api-key or {API_KEY_VARIABLE}."
    if not api_key:
        rejected = f"{url} refused a request without an API key. Pass one with --api-key or {API_KEY_VARIABLE}."
    async with connect(url, api_key) as client:
        yield RemoteRecognizer(client, fields, rejected=rejected)
