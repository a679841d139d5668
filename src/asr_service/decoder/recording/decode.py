"""Decodes the audio of a file and reports what was lost."""

from typing import Final

from asr_service.decoder.protocol import DecodeLimits, DecodeOutcome, RecordingWarning
from asr_service.decoder.recording import loss_warnings
from asr_service.decoder.recording.containers.fragments import repaired
from asr_service.decoder.recording.containers.leading_tag import without_leading_tag
from asr_service.decoder.recording.containers.links import links
from asr_service.decoder.recording.containers.second_recording import following_recording
from asr_service.decoder.recording.containers.sound_size import corrected
from asr_service.decoder.recording.containers.source import Part, Source
from asr_service.decoder.recording.containers.wav_head import with_head
from asr_service.decoder.recording.containers.wav_pieces import joined
from asr_service.decoder.recording.demuxer import Refused
from asr_service.decoder.recording.output import Output, Sink
from asr_service.decoder.recording.part import decode_part

_MAX_WARNINGS: Final = 20
"""A file may have thousands of parts, each with its own warnings."""


def decode(source: Source, limits: DecodeLimits, sink: Sink, track: str = "") -> DecodeOutcome:
    """Decode an audio track to 16 kHz mono s16le.

    `track` is explained at `choose_track`. The outcome covers every error in the file.

    Raises MemoryError: decoding needs too much memory.
    """
    try:
        return _Decoding(source, limits, sink, track).run()
    except Refused as refused:
        return DecodeOutcome(refused.verdict, refused.message)


class _Decoding:
    """The decoding of a file, which consists of one part or of several that were joined."""

    def __init__(self, source: Source, limits: DecodeLimits, sink: Sink, track: str) -> None:
        source = without_leading_tag(source)
        self._source = repaired(source)
        self._is_repaired = self._source is not source
        whole = joined(with_head(self._source))
        self._source = whole.source
        self._has_other_format = not whole.is_complete
        self._correction = corrected(self._source)
        if self._correction is not None:
            self._source = self._correction.source
        self._output = Output(limits, sink)
        self._track = track
        self._warnings: list[RecordingWarning] = []
        self._n_left_out = 0

    def run(self) -> DecodeOutcome:
        following = following_recording(self._source)
        parts = links(self._source if following is None else Part(self._source, 0, following[1]))
        self._decode(Part(self._source, *parts[0]))
        self._warn_of_wrong_size()
        for start, end in parts[1:]:
            self._decode_further(Part(self._source, start, end))
        if following is not None:
            self._warn_of_recording_behind(following[0])
        elif self._has_other_format:
            self._warn_of_recording_behind("WAV")
        if self._n_left_out:
            text = f"Other parts of the file have {self._n_left_out} more warnings."
            self._warnings.append(RecordingWarning("more_warnings", text, {"count": self._n_left_out}))
        return DecodeOutcome("decoded", warnings=tuple(self._warnings))

    def _decode(self, source: Source) -> None:
        part = decode_part(source, self._output, self._track, is_repaired=self._is_repaired)
        self._warn(*part.warnings)
        if part.behind is not None:
            self._warn_of_recording_behind(part.behind)

    def _decode_further(self, source: Source) -> None:
        at_s = self._output.end_s
        try:
            self._decode(source)
        except Refused as refused:
            if refused.verdict == "too_long":
                raise
            text = f"A part of the file, at {at_s:.1f} s, could not be decoded: {refused.message}"
            self._warn(RecordingWarning("part_not_decoded", text, {"at_s": round(at_s, 1)}))

    def _warn_of_wrong_size(self) -> None:
        share = None if self._correction is None else self._correction.declared_share
        if share is not None:
            self._warn(loss_warnings.longer_than_declared(self._output.end_s * share, self._output.end_s))

    def _warn_of_recording_behind(self, name: str) -> None:
        text = f"A second recording ({name}) follows in the file. Only the first was decoded."
        self._warn(RecordingWarning("second_recording", text, {"container": name}))

    def _warn(self, *warnings: RecordingWarning) -> None:
        room = max(_MAX_WARNINGS - len(self._warnings), 0)
        self._warnings += warnings[:room]
        self._n_left_out += len(warnings[room:])
