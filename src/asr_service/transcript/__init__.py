"""The result of a transcription, and its lossless JSON form (`transcript.codec`)."""

from asr_service.transcript.types import Detection, Peaks, Segment, Timing, Transcript, WarningDetail, Word

__all__ = ["Detection", "Peaks", "Segment", "Timing", "Transcript", "WarningDetail", "Word"]
