"""Puts decoded frames at their places in the recording."""

from av.audio.frame import AudioFrame

from asr_service.decoder.recording.output import Output
from asr_service.decoder.recording.resample import Resampler
from asr_service.decoder.recording.timeline import CountedTime, Timeline


class Placer:
    """Resamples the frames of one part and passes them to the output, with the gaps between them."""

    def __init__(self, output: Output, base_s: float, *, has_gaps: bool, counted: CountedTime | None) -> None:
        """`base_s` is the timestamp at the start of the part, `counted` the time if the frames have no timestamps."""
        self._output = output
        self._base_s = base_s
        self._counted = counted
        self._origin_s = output.end_s
        self._timeline = Timeline(base_s, output.max_absent_s, has_gaps=has_gaps)
        self._resampler = Resampler()

    def add(self, frame: AudioFrame) -> None:
        """Add the next frame. Raises Refused: the recording is too long or too large."""
        self._output.count(frame)
        duration_s = frame.samples / frame.sample_rate
        timestamp_s = None if frame.pts is None else frame.pts * float(frame.time_base or 0)
        if self._counted is not None:
            timestamp_s = self._counted.timestamp_s(duration_s) + self._base_s
        if self._timeline.gap_before(timestamp_s, duration_s):
            self.flush()
            self._output.move_to(self._origin_s + self._timeline.end_s - duration_s)
        self._output.add(self._resampler.push(frame))

    def flush(self) -> None:
        """Pass on the samples that the resampler still holds."""
        self._output.add(self._resampler.flush())
