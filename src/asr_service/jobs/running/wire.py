"""The messages between a job worker and a service: the request for a run, and the lines of its response.

The request's body is the recording, followed by the Work as JSON. A header has the size of the recording. The response
has one JSON object on each line. Segments and the Transcript are in the lossless form of `transcript.codec`.
"""

import json
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from asr_service.jobs.running.executor import AttemptFailed, Event, Length, Started, Work, WorkReturned
from asr_service.transcript import Segment, Transcript, codec

PATH: Final = "/internal/job-runs"
AUDIO_BYTES: Final = "x-asr-audio-bytes"
"""The header with the size of the recording in bytes."""
MEDIA_TYPE: Final = "application/x-ndjson"
KEEP_ALIVE_S: Final = 10.0
"""The longest time between two lines: the service then sends a Waiting, so that a lost connection is noticed."""
MAX_WORK_BYTES: Final = 64 * 1024**2
"""The maximum size of the Work as JSON: the words of a day of speech."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is new."""


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    work: Work


def encode_work(work: Work) -> bytes:
    """Write the work as JSON, without the options that are not set: an older service may not know them."""
    unset = {name for name, value in work.options if value is None}
    return _Envelope(work=work).model_dump_json(exclude={"work": {"options": unset}}).encode()


def split_body(file: BinaryIO, n_audio_bytes: int) -> Work:
    """Read the Work after the recording, and cut it off the file. Blocks. Raises ValueError: it is not valid."""
    file.seek(n_audio_bytes)
    data = file.read(MAX_WORK_BYTES)
    file.truncate(n_audio_bytes)
    file.seek(0)
    try:
        return _Envelope.model_validate_json(data).work
    except ValidationError as error:
        raise ValueError(f"The work is not valid: {error.errors()[0]['msg']}.") from error


def encode_line(event: Event | Waiting | AttemptFailed | WorkReturned) -> str:
    match event:
        case Segment():
            line = codec.encode_segment(event)
        case Transcript():
            line = codec.encode(event)
        case Started():
            line = json.dumps({"started": event.resume_key})
        case Length():
            line = json.dumps({"length": event.audio_s})
        case AttemptFailed():
            line = json.dumps({"failed": [event.code, event.message, event.is_final]})
        case WorkReturned():
            line = json.dumps({"returned": str(event)})
        case Waiting():
            line = "{}"
    return line + "\n"


def decode_line(line: bytes) -> Event | Waiting:
    """Read a line of a response.

    Raises AttemptFailed, WorkReturned: the line says so. Raises ValueError: it is not a line of a response.
    """
    try:
        fields = json.loads(line)
        match fields:
            case {"segment": _}:
                return codec.decode_segment(line)
            case {"transcript": _}:
                return codec.decode(line)
            case {"started": str(resume_key)}:
                return Started(resume_key)
            case {"length": float(audio_s) | int(audio_s)}:
                return Length(audio_s)
            case {"failed": [str(code), str(message), bool(is_final)]}:
                raise AttemptFailed(code, message, is_final=is_final)
            case {"returned": str(reason)}:
                raise WorkReturned(reason)
            case {}:
                return Waiting()
    except UnicodeDecodeError as error:
        raise ValueError("the line is not UTF-8") from error
    raise ValueError("the line is not a JSON object")
