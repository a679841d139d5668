"""Receives a request body: one file on disk, and fields."""

import errno
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import structlog
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser, MultipartPart
from starlette.requests import ClientDisconnect, Request

from asr_service.api.content_coding import coding_problem
from asr_service.api.spool_space import leave_space
from asr_service.errors import ClientGone, MalformedRequest, Unavailable, UnsupportedAudio
from asr_service.stages import stage

log = structlog.get_logger(__name__)

FILE_FIELDS = ("file", "audio")
_MAX_FIELDS = 50
_MAX_FIELD_BYTES = 64 * 1024
_MAX_EPILOGUE_BYTES = 1024
_MAX_PREAMBLE_BYTES = 8 * 1024
_LONG_HEADER = "Maximum header size exceeded"  # python_multipart/multipart.py
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin-1", "latin1"})
"""The charsets that a form's text may have. Python knows many more. Some take a second to decode one field, some return
half characters, and Python caches every name that it looks up.
"""
_RAW_TYPES = ("audio/", "video/", "application/octet-stream", "application/ogg")

Fields = tuple[tuple[str, str], ...]
"""Names and values, as they were sent."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A received request body."""

    file: BinaryIO
    """The recording, at position 0. It has a descriptor that another process can read."""
    fields: Fields
    """The fields of the query, then those of the form. A name may occur more than once."""
    sha256: bytes
    """The SHA-256 digest of the recording, taken while it arrived."""


def early_fields(request: Request) -> Fields | None:
    """Return the fields if all are known before the body arrives; None for a form, which has more."""
    return tuple(request.query_params.multi_items()) if _content_type(request).startswith(_RAW_TYPES) else None


@asynccontextmanager
async def receive_upload(request: Request) -> AsyncIterator[Upload]:
    """Receive the whole body: a form with one file, or the recording itself. The context's end deletes the file.

    Raises MalformedRequest, UnsupportedAudio, UploadTooLarge, UploadTooSlow and ClientGone. Raises Unavailable: the
    file cannot be written, such as to a full disk.
    """
    content_type = _content_type(request)
    if (problem := coding_problem(request)) is not None:
        raise UnsupportedAudio(f"{problem} Audio formats such as FLAC or Opus are compressed already.")
    query = request.query_params.multi_items()
    try:
        if content_type == "multipart/form-data":
            async with AsyncExitStack() as stack:
                with stage("receive"):
                    file, fields, sha256 = await stack.enter_async_context(_multipart(request))
                yield Upload(file, (*query, *fields), sha256)
        elif content_type.startswith(_RAW_TYPES):
            async with AsyncExitStack() as stack:
                with stage("receive"):
                    file, sha256 = await stack.enter_async_context(stored(request.stream()))
                yield Upload(file, tuple(query), sha256)
        else:
            raise UnsupportedAudio(_unsupported(content_type))
    except ClientDisconnect as error:
        raise ClientGone("The client disconnected during the upload.") from error


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


@contextmanager
def _disk_errors_as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("an upload cannot be stored", error=repr(error))  # noqa: TRY400 - the traceback adds nothing
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = "has no disk space for this upload" if is_full else "cannot store an upload"
        raise Unavailable(f"The service {problem} at the moment. Try again later.") from error


def _close(file: IO[bytes]) -> None:
    # On a full disk, close() fails to flush, as the write did before. That error would hide the first.
    with suppress(OSError):
        file.close()


def _unsupported(content_type: str) -> str:
    shown = f"Content-Type {content_type[:80]!r} is" if content_type else "A request without a Content-Type is"
    return (
        f"{shown} not supported. Send multipart/form-data with the recording in the field 'file' (curl -F file=@...), "
        "or the recording as the body with its own type (curl -H 'Content-Type: audio/wav' --data-binary @...)."
    )


@asynccontextmanager
async def _multipart(request: Request) -> AsyncIterator[tuple[BinaryIO, list[tuple[str, str]], bytes]]:
    form, sha256 = await _parsed(request)
    try:
        with _disk_errors_as_unavailable():
            file = _only_file(form)
        yield file, [(name, value) for name, value in form.multi_items() if isinstance(value, str)], sha256
    finally:
        with suppress(OSError):  # as in _close
            await form.close()


async def _parsed(request: Request) -> tuple[FormData, bytes]:
    """Return the form, and the digest of its file."""
    limits = {"max_files": 1, "max_fields": _MAX_FIELDS, "max_part_size": _MAX_FIELD_BYTES}
    _check_charset(request)
    try:
        with _disk_errors_as_unavailable():
            parser = _Parser(request.headers, _complete_stream(request), **limits)
            return await parser.parse(), parser.sha256.digest()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise MalformedRequest("Send one file per request.", param="file") from error
        if error.message.startswith("Part exceeded"):
            raise MalformedRequest(
                f"A field is larger than {_MAX_FIELD_BYTES // 1024} kB. If it is the recording, its part needs a "
                'filename="..." or the Content-Type of audio (curl -F file=@recording.wav).'
            ) from error
        raise MalformedRequest(f"The form cannot be parsed: {_reason(error)}") from error


def _reason(error: MultiPartException) -> str:
    """Return what is wrong with the form. Starlette hides the parser's own message."""
    reason = str(error.__cause__ or error.message)
    if reason == _LONG_HEADER:
        return "A header of a part is too long. Send a shorter file name."
    return reason if reason.endswith(".") else f"{reason}."


class _Parser(MultiPartParser):
    """Also takes a recording whose part has no `filename`, but a `filename*` or a media type of binary data.

    `sha256` is the hash of the file, of which a form has one.
    """

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes], **limits: int) -> None:
        super().__init__(headers, stream, **limits)
        self.sha256 = hashlib.sha256()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        super().on_part_data(data, start, end)
        if self._current_part.file is not None:
            self.sha256.update(memoryview(data)[start:end])

    def on_headers_finished(self) -> None:
        part = self._current_part
        _check_transfer_encoding(part)
        _, options = parse_options_header(part.content_disposition)
        is_recording = options.get(b"name", b"").decode("latin-1") in FILE_FIELDS and b"filename" not in options
        if is_recording and part.content_disposition is not None and (_has_filename(part) or _is_binary(part)):
            part.content_disposition += b'; filename="recording"'
        super().on_headers_finished()


def _check_transfer_encoding(part: MultipartPart) -> None:
    """Raise MultiPartException: the part is encoded. RFC 7578 forbids that, and the parser does not decode it."""
    coding = dict(part.item_headers).get(b"content-transfer-encoding", b"binary").decode("latin-1").strip().lower()
    if coding not in {"7bit", "8bit", "binary"}:
        raise MultiPartException(
            f"Content-Transfer-Encoding {coding[:64]!r} is not supported. Send the bytes as they are."
        )


def _has_filename(part: MultipartPart) -> bool:
    return b"filename*" in (part.content_disposition or b"").lower()


def _is_binary(part: MultipartPart) -> bool:
    media_type = dict(part.item_headers).get(b"content-type", b"").decode("latin-1").strip().lower()
    return media_type.startswith(_RAW_TYPES)


def _check_charset(request: Request) -> None:
    _, parameters = parse_options_header(request.headers["content-type"])
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        raise MalformedRequest(f"The form's charset {charset[:64]!r} is not supported. Use UTF-8.")


async def _complete_stream(request: Request) -> AsyncGenerator[bytes]:
    """Yield the body. Raises MultiPartException: the closing boundary is missing, which the parser would accept."""
    _, parameters = parse_options_header(request.headers["content-type"])
    boundary = b"--" + parameters.get(b"boundary", b"")
    end = boundary + b"--"
    tail = b""
    async for part in _without_preamble(leave_space(request.stream()), boundary):
        yield part
        tail = (tail + part)[-len(end) - _MAX_EPILOGUE_BYTES :]
    if end not in tail:
        raise MultiPartException("Missing closing boundary.")


async def _without_preamble(parts: AsyncGenerator[bytes], boundary: bytes) -> AsyncGenerator[bytes]:
    """Yield the body from its first boundary on: RFC 2046 allows text before it, which the parser does not."""
    head: bytes | None = b""
    async for part in parts:
        if head is None:
            yield part
            continue
        head += part
        start = 0 if head.startswith(boundary) else head.find(b"\r\n" + boundary) + 2
        if start != 1:
            yield head[start:]
            head = None
        elif len(head) > _MAX_PREAMBLE_BYTES:
            raise MultiPartException("The boundary of the Content-Type does not occur in the body.")
    if head:
        yield head


def _only_file(form: FormData) -> BinaryIO:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in FILE_FIELDS:
                raise MalformedRequest(f"Send the recording in the field 'file', not {name[:64]!r}.", param="file")
            return _on_disk(value)
        if name in FILE_FIELDS:
            raise MalformedRequest(
                f"Field {name!r} is text, not a file. Send a file: curl -F {name}=@recording.wav", param=name
            )
    raise MalformedRequest("The form has no file. Send the recording in the field 'file'.", param="file")


def _on_disk(upload: UploadFile) -> BinaryIO:
    """Write a small file to disk, which Starlette keeps in memory: the decoder reads from a descriptor."""
    upload.file.fileno()  # turns a spooled file into a real one
    upload.file.flush()
    upload.file.seek(0)
    return upload.file


@asynccontextmanager
async def stored(body: AsyncGenerator[bytes]) -> AsyncIterator[tuple[BinaryIO, bytes]]:
    """Store a body in a file until the context ends. Yields the file, at position 0, and its SHA-256 digest.

    Raises Unavailable: the file cannot be written, such as to a full disk.
    """
    sha256 = hashlib.sha256()
    with ExitStack() as stack:
        with _disk_errors_as_unavailable():
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
            stack.callback(_close, file)
            async for part in leave_space(body):
                file.write(part)
                sha256.update(part)
            file.flush()
            file.seek(0)
        yield cast("BinaryIO", file), sha256.digest()
