"""Read the service's NDJSON stream back into Segments and a Transcript: the inverse of the `ndjson` format."""

import json
import math
from dataclasses import replace
from typing import Any

from asr_service.transcript import Segment, Timing, Transcript, WarningDetail, Word


class StreamFailed(Exception):
    """The stream ended with an error line. `code` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NdjsonReader:
    """Reads the lines of one stream in order.

    The stream does not carry everything. A segment's tokens come out empty, and a number that was null comes out as
    NaN. A segment whose line has no language gets the transcript's language.
    """

    def __init__(self) -> None:
        self._segments: list[Segment] = []

    def read(self, line: str) -> Segment | Transcript | None:
        """Return the Segment or the Transcript of a line. The Transcript comes last and contains all segments.

        Returns None for an unknown line type.

        Raises StreamFailed: the line is an error.
        Raises ValueError: the line does not belong to such a stream.
        """
        try:
            fields = json.loads(line)
            kind = fields["type"]
            if kind == "error":
                raise StreamFailed(str(fields["error"]["code"]), str(fields["error"]["message"]))
            if kind == "segment":
                self._segments.append(_segment(fields))
                return self._segments[-1]
            return self._transcript(fields) if kind == "transcript" else None
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a line of a transcription stream: {error!r}") from error

    def _transcript(self, fields: dict[str, Any]) -> Transcript:
        language = fields["language"]
        segments = (each if each.language else replace(each, language=language or "") for each in self._segments)
        probability = fields["language_probability"]
        return Transcript(
            text=str(fields["text"]),
            task=str(fields["task"]),
            language=language,
            language_probability=None if probability is None else float(probability),
            duration=float(fields["duration"]),
            duration_after_vad=float(fields["duration_after_vad"]),
            model=str(fields["model"]),
            segments=tuple(segments),
            warnings=tuple(map(str, fields["warnings"])),
            warning_details=tuple(
                WarningDetail(str(each["code"]), dict(each["values"])) for each in fields.get("warning_details", ())
            ),
            timing=Timing(**{name: _number(value) for name, value in fields["timing"].items()}),
        )


def _segment(fields: dict[str, Any]) -> Segment:
    words = fields.get("words")
    return Segment(
        id=int(fields["id"]),
        start=float(fields["start"]),
        end=float(fields["end"]),
        text=str(fields["text"]),
        tokens=(),
        avg_logprob=_number(fields["avg_logprob"]),
        no_speech_prob=_number(fields["no_speech_prob"]),
        compression_ratio=_number(fields["compression_ratio"]),
        temperature=_number(fields["temperature"]),
        language=str(fields.get("language") or ""),
        words=None if words is None else tuple(map(_word, words)),
    )


def _word(fields: dict[str, Any]) -> Word:
    return Word(str(fields["word"]), float(fields["start"]), float(fields["end"]), _number(fields["probability"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
