"""The end of a transcription: its transcript, its metrics and its line in the log."""

import time
from typing import Final

import structlog

from asr_service import metrics
from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import RecordingWarning
from asr_service.engine.pipeline.recording import Recording
from asr_service.languages import LANGUAGES
from asr_service.transcript import Timing, Transcript, WarningDetail

_NO_SPEECH: Final = RecordingWarning("no_speech", "No speech was found.")

log = structlog.get_logger(__name__)


def conclude(recording: Recording, model_name: str) -> Transcript:
    """Return the transcript of a recording that is completely decoded. Count it in the metrics, and log it."""
    audio, speech, request = recording.audio, recording.speech, recording.request
    segments = tuple(recording.done)
    total_s = time.monotonic() - recording.started_at
    duration_s = audio.n_samples / SAMPLE_RATE
    realtime_factor = total_s / duration_s if duration_s else 0.0
    metrics.AUDIO_SECONDS.inc(duration_s)
    if duration_s:
        length = "long" if duration_s >= metrics.LONG_RECORDING_S else "short"
        metrics.REALTIME_FACTOR.labels(length).observe(realtime_factor)
    inference_s = request.inference_s
    language, probability = request.known_language or (None, None)
    log.info(
        "transcribed",
        audio_s=round(duration_s, 3),
        speech_s=round(speech.speech_s, 3),
        queue_s=round(request.queued_s, 3),
        inference_s=round(inference_s, 3),
        total_s=round(total_s, 3),
    )
    text = "".join(segment.text for segment in segments).strip()
    warnings = audio.warnings if text else (*audio.warnings, _NO_SPEECH)
    return Transcript(
        text=text,
        task=request.options.task,
        language=language,
        language_probability=probability,
        duration=audio.end_s,
        duration_after_vad=speech.speech_s,
        model=model_name,
        segments=segments,
        warnings=tuple(warning.message for warning in warnings),
        timing=Timing(
            queue_ms=request.queued_s * 1000,
            decode_ms=audio.decode_s * 1000,
            vad_ms=speech.vad_s * 1000,
            inference_ms=inference_s * 1000,
            total_ms=total_s * 1000,
            realtime_factor=realtime_factor,
        ),
        language_name=LANGUAGES.get(language or ""),
        peaks=None if recording.peaks is None else recording.peaks.peaks(),
        warning_details=tuple(WarningDetail(warning.code, warning.values) for warning in warnings),
    )
