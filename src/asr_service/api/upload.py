"""A request's body, received: one file on disk and the fields beside it."""

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import structlog
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from asr_service.errors import ClientGone, MalformedRequest, Unavailable, UnsupportedAudio
from asr_service.stages import stage

log = structlog.get_logger(__name__)

FILE_FIELDS = ("file", "audio")
_MAX_FIELDS = 50
_MAX_FIELD_BYTES = 64 * 1024
_MAX_EPILOGUE_BYTES = 1024
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin-1", "latin1"})
"""Of a form's text. Python knows many more, of which some take a second for one field some give half characters, and it
remembers each name that it was ever asked for.
"""
_RAW_TYPES = ("audio/", "video/", "application/octet-stream", "application/ogg")


Fields = tuple[tuple[str, str], ...]
"""Names and values as they were sent."""


@dataclass(frozen=True, slots=True)
class Upload:
    file: BinaryIO
    """At its beginning, with a descriptor that another process can read from."""
    fields: Fields
    """Of the query, then of the form. A name may stand there more than once."""


@asynccontextmanager
async def receive_upload(request: Request) -> AsyncIterator[Upload]:
    """Receive the whole body: a form with one file, or audio as such.

    The file is gone when the context is left. Raises MalformedRequest, UnsupportedAudio, UploadTooLarge,
    UploadTooSlow, ClientGone, and Unavailable where the disk has no room.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    query = request.query_params.multi_items()
    try:
        if content_type == "multipart/form-data":
            async with AsyncExitStack() as stack:
                with stage("receive"):
                    file, fields = await stack.enter_async_context(_multipart(request))
                yield Upload(file, (*query, *fields))
        elif content_type.startswith(_RAW_TYPES):
            async with AsyncExitStack() as stack:
                with stage("receive"):
                    file = await stack.enter_async_context(_raw(request))
                yield Upload(file, tuple(query))
        else:
            raise UnsupportedAudio(_what_to_send(content_type))
    except ClientDisconnect as error:
        raise ClientGone("the client left while it was sending") from error


@contextmanager
def _on_this_disk() -> Iterator[None]:
    """A disk without room is not the caller's fault, nor for ever."""
    try:
        yield
    except OSError as error:
        log.error("an upload cannot be kept", error=repr(error))  # noqa: TRY400 - the trace would say no more
        raise Unavailable("the service has no room for an upload at the moment; try again later") from error


def _close(file: IO[bytes]) -> None:
    """What had no room on the disk is written once more here, and that failure would hide the first."""
    with suppress(OSError):
        file.close()


def _what_to_send(content_type: str) -> str:
    shown = f"Content-Type {content_type[:80]!r}" if content_type else "a request without a Content-Type"
    return (
        f"{shown} is not taken: send multipart/form-data with the recording in the field `file` (curl -F file=@...), "
        "or the recording as the body with its own type (curl -H 'Content-Type: audio/wav' --data-binary @...)"
    )


@asynccontextmanager
async def _multipart(request: Request) -> AsyncIterator[tuple[BinaryIO, list[tuple[str, str]]]]:
    form = await _parsed(request)
    try:
        with _on_this_disk():
            file = _only_file(form)
        yield file, [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    finally:
        with suppress(OSError):  # the same
            await form.close()


async def _parsed(request: Request) -> FormData:
    limits = {"max_files": 1, "max_fields": _MAX_FIELDS, "max_part_size": _MAX_FIELD_BYTES}
    _check_charset(request)
    try:
        with _on_this_disk():
            return await MultiPartParser(request.headers, _to_the_end(request), **limits).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise MalformedRequest("send one file a request", param="file") from error
        if error.message.startswith("Part exceeded"):
            raise MalformedRequest(
                f"a field is larger than {_MAX_FIELD_BYTES // 1024} kB; where it is the recording, its part lacks a "
                'filename="..." (curl -F file=@recording.wav)'
            ) from error
        raise MalformedRequest(f"the form cannot be read: {error.message}") from error


def _check_charset(request: Request) -> None:
    _, parameters = parse_options_header(request.headers["content-type"])
    named = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if named.lower() not in _CHARSETS:
        raise MalformedRequest(f"the form's charset {named[:64]!r} is not taken: send UTF-8")


async def _to_the_end(request: Request) -> AsyncGenerator[bytes]:
    """The body. Raises MultiPartException where it stops short of the form's end, which the parser would not mind."""
    _, parameters = parse_options_header(request.headers["content-type"])
    end = b"--%s--" % parameters.get(b"boundary", b"")
    tail = b""
    async for part in request.stream():
        yield part
        tail = (tail + part)[-len(end) - _MAX_EPILOGUE_BYTES :]
    if end not in tail:
        raise MultiPartException("it ends before its closing boundary")


def _only_file(form: FormData) -> BinaryIO:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in FILE_FIELDS:
                raise MalformedRequest(f"send the recording in the field `file`, not {name[:64]!r}", param="file")
            return _on_disk(value)
        if name in FILE_FIELDS:
            raise MalformedRequest(
                f"the field {name} holds text, not a file: curl -F {name}=@recording.wav", param=name
            )
    raise MalformedRequest("the form holds no file: send the recording in the field `file`", param="file")


def _on_disk(upload: UploadFile) -> BinaryIO:
    """Starlette keeps small files in memory; the decoder reads from a descriptor."""
    upload.file.fileno()  # makes a spooled file a real one
    upload.file.flush()
    upload.file.seek(0)
    return upload.file


@asynccontextmanager
async def _raw(request: Request) -> AsyncIterator[BinaryIO]:
    with ExitStack() as stack:
        with _on_this_disk():
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed as the stack is left
            stack.callback(_close, file)
            async for part in request.stream():
                file.write(part)
            file.flush()
            file.seek(0)
        yield cast("BinaryIO", file)
