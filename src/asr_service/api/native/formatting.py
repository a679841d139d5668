"""Writes a given transcript in another format: /format.

A page or program that edits a transcript needs the layout of subtitles after the edit. The rules of the layout are in
one place, `asr_service.formats`, so an editor sends the transcript back instead of having rules of its own.
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator
from typing import Final

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from asr_service.api.admission import place_of
from asr_service.api.content_coding import coding_problem
from asr_service.api.handler import layout_turn, render
from asr_service.api.native.parameters import chosen_format, once, parse_parameters
from asr_service.api.native.schemas import FormatParameters
from asr_service.api.native.transcript_body import TranscriptBody
from asr_service.api.upload import stored
from asr_service.errors import InvalidParameter, MalformedRequest, UploadTooLarge
from asr_service.formats import Format, SubtitleStyle, with_speaker_names
from asr_service.formats.subtitles.pieces import count_breaks
from asr_service.validation import check_fields

MAX_BYTES: Final = 32 * 1024 * 1024
"""The JSON of 24 hours of speech with word times has 25 MB."""
_MAX_VALUES: Final = 3_000_000
"""24 hours of speech with word times and tokens have 2 million. While JSON is parsed, the slot does nothing else."""
_MAX_CHARACTERS: Final = 2_000_000
"""24 hours of fast speech have 1.7 million."""
_MAX_LAYOUT: Final = 27_000_000
"""Places where a line may break, times the columns of a cue: the time of the layout grows with both, and is at most
25 s on a core of a Xeon. 24 hours of fast English speech have 25 million in cues of two lines of 42 columns."""


async def format_transcript(request: Request) -> Response:
    """Return the transcript of the body in the format of the query. Raises AsrError."""
    asked = once(request.query_params.multi_items())
    check_fields(FormatParameters, asked)
    parameters = parse_parameters(tuple(asked.items()))
    fmt = chosen_format(parameters)
    default = SubtitleStyle()
    cue_width = (parameters.max_line_width or default.max_line_width) * (
        parameters.max_line_count or default.max_line_count
    )
    async with place_of(request), stored(_body(request)) as (body, _), layout_turn(request):
        written = await asyncio.to_thread(lambda: _write(body.read(), fmt, cue_width))
    return Response(written, media_type=fmt.media_type)


async def _body(request: Request) -> AsyncGenerator[bytes]:
    """Yield the body, which waits on the disk: those of many requests take gigabytes. Raises what is wrong with it."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise MalformedRequest(
            "The body is not a transcript. Send the JSON of /transcribe, with Content-Type: application/json."
        )
    if (problem := coding_problem(request)) is not None:
        raise MalformedRequest(problem)
    n_bytes = 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > MAX_BYTES:
            raise UploadTooLarge(f"The transcript is larger than {MAX_BYTES} bytes, which is the limit.")
        yield part


def _write(body: bytes, fmt: Format, cue_width: int) -> bytes:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise UploadTooLarge(f"The transcript has more than {_MAX_VALUES} values, which is the limit.")
    try:
        fields = from_json(body.removeprefix(BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise MalformedRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise MalformedRequest("The body is not a transcript: expected a JSON object with the field segments.")
    transcript = with_speaker_names(check_fields(TranscriptBody, fields).to_transcript())
    n_characters = len(transcript.text)
    if n_characters > _MAX_CHARACTERS:
        raise InvalidParameter(
            f"The text has {n_characters} characters; the limit is {_MAX_CHARACTERS}.", param="segments"
        )
    if fmt.styled is not None and (n_breaks := count_breaks(transcript)) * cue_width > _MAX_LAYOUT:
        raise InvalidParameter(
            f"A text with {n_breaks} places where a line may break is too long for cues of {cue_width} columns. Use a "
            f"smaller max_line_width or max_line_count, so that a cue has at most {_MAX_LAYOUT // n_breaks} columns.",
            param="max_line_width",
        )
    return render(fmt, transcript)
