"""One recording that is being transcribed."""

from dataclasses import dataclass

from asr_service.audio.peaks import PeakMeter
from asr_service.decoder.pool import DecodedAudio
from asr_service.engine.pipeline.script import ScriptConverter
from asr_service.engine.pipeline.speech import SpeechChunker
from asr_service.engine.pipeline.window_memory import MemoryShare
from asr_service.engine.schedule.request import RequestHandle
from asr_service.transcript import Segment


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, while its audio is decoded and its windows are with the model."""

    audio: DecodedAudio
    speech: SpeechChunker
    request: RequestHandle
    memory: MemoryShare
    started_at: float
    """Monotonic seconds."""
    script: ScriptConverter
    done: list[Segment]
    """The segments that are known, in order. At first, those of an earlier run that did not finish."""
    peaks: PeakMeter | None
