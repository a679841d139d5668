"""The result of a transcription, and its lossless JSON form (`transcript.codec`)."""

from asr_service.transcript.types import Detection, Segment, Timing, Transcript, Word

__all__ = ["Detection", "Segment", "Timing", "Transcript", "Word"]
