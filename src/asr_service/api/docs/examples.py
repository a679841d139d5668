"""The example responses of the OpenAPI document."""

from typing import Any, Final

from pydantic.config import JsonDict, JsonValue

_TEXT: Final = "He began a confused complaint against the wizard, who had vanished behind the curtain on the left."
_SCORES: Final[dict[str, Any]] = {
    "avg_logprob": -0.3067,
    "no_speech_prob": 0.0025,
    "compression_ratio": 1.1412,
    "temperature": 0.0,
}
_USAGE: Final[JsonDict] = {"type": "duration", "seconds": 4.905}


def example_of(example: JsonDict) -> JsonDict:
    """Return the model configuration that shows an example."""
    return {"examples": [example]}


TRANSCRIPT: Final[JsonDict] = {
    "text": _TEXT,
    "task": "transcribe",
    "language": "en",
    "language_probability": 0.9994,
    "duration": 4.905,
    "duration_after_vad": 4.905,
    "model": "base",
    "warnings": [],
    "warning_details": [],
    "timing": {
        "queue_ms": 0.099,
        "decode_ms": 2.698,
        "vad_ms": 12.092,
        "inference_ms": 1070.976,
        "total_ms": 1125.14,
        "realtime_factor": 0.2294,
    },
    "segments": [
        {
            "id": 0,
            "start": 0.0,
            "end": 4.54,
            "text": f" {_TEXT}",
            "words": [{"word": " He", "start": 0.0, "end": 0.34, "probability": 0.684}],
            "language": "en",
            **_SCORES,
        }
    ],
}

_LANGUAGES: Final[list[JsonValue]] = [{"code": "en"}]

OPENAI_JSON: Final[JsonDict] = {"text": _TEXT, "languages": _LANGUAGES, "usage": _USAGE}

VERBOSE_JSON: Final[JsonDict] = {
    "task": "transcribe",
    "language": "english",
    "duration": 4.905,
    "text": _TEXT,
    "languages": _LANGUAGES,
    "usage": _USAGE,
    "words": [{"word": "He", "start": 0.0, "end": 0.34}],
    "segments": [
        {"id": 0, "seek": 0, "start": 0.0, "end": 4.54, "text": f" {_TEXT}", "tokens": [50364, 634, 1409], **_SCORES}
    ],
}

MODEL: Final[JsonDict] = {"id": "whisper-1", "object": "model", "created": 1763725200, "owned_by": "Systran"}

MODELS: Final[JsonDict] = {"object": "list", "data": [MODEL]}

ERROR: Final[JsonDict] = {
    "error": {
        "message": "Unknown field 'langauge'. Did you mean language?",
        "type": "invalid_request_error",
        "param": "langauge",
        "code": "invalid_parameter",
    }
}

DETECTION: Final[JsonDict] = {
    "language": "en",
    "name": "english",
    "probability": 0.9994,
    "probabilities": {"en": 0.9994, "cy": 0.0001, "de": 0.0001},
    "start": 0.0,
    "end": 4.905,
    "model": "base",
}

LANGUAGES: Final[JsonDict] = {"model": "base", "languages": [{"code": "en", "name": "english", "known": True}]}

JOB: Final[JsonDict] = {
    "id": "job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d",
    "object": "transcription.job",
    "status": "failed",
    "created_at": 1764403200.12,
    "started_at": 1764403200.48,
    "finished_at": 1764403200.53,
    "expires_at": 1765008000.53,
    "progress": {"audio_s_done": 0.0, "audio_s_total": 3600.0},
    "attempts": 1,
    "metadata": {"call": "0042"},
    "error": {"code": "undecodable_audio", "message": "No audio in this file could be decoded."},
    "links": {
        "self": "/jobs/job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d",
        "events": "/jobs/job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d/events",
        "transcript": "/jobs/job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d/transcript",
    },
}
