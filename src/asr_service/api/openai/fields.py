"""The treatment of fields that other implementations of OpenAI's API have and this service does not.

The options that are honoured are the fields of `schemas.OpenAIForm`. docs/api.md has both in one table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from asr_service.api.upload import Fields
from asr_service.errors import InvalidParameter
from asr_service.plain_number import is_plain_number


class Treatment(StrEnum):
    """What happens to a field whose value differs from the neutral ones."""

    IGNORED = "accepted without effect"
    """The answer has what the field asks for anyway, or the field asks nothing of the answer."""
    WARNED = "warned about"
    """The text might differ a little; the answer has a header that names the field."""
    REFUSED = "refused"
    """The answer would not be what the client asks for."""


@dataclass(frozen=True, slots=True)
class ForeignField:
    """A known field without an option."""

    treatment: Treatment
    reason: str
    """A sentence for the user."""
    neutral: frozenset[str | float] = frozenset()
    """Values that ask for what the service does anyway: numbers as float, text in lower case."""


def _ignored(reason: str) -> ForeignField:
    return ForeignField(Treatment.IGNORED, reason)


def _warned(reason: str, *neutral: str | float) -> ForeignField:
    return ForeignField(Treatment.WARNED, reason, frozenset(neutral))


def _refused(reason: str, *neutral: str | float) -> ForeignField:
    return ForeignField(Treatment.REFUSED, reason, frozenset(neutral))


_FALSE: Final = ("false", 0.0, "off", "no")
_TRUE: Final = ("true", 1.0, "on", "yes")
_NO_SPEAKERS: Final = "The service does not distinguish speakers."
_SAMPLING: Final = "The service samples by temperature alone."
_BEAMS: Final = "The beam search has one option, beam_size."
_THRESHOLDS: Final = "The thresholds of the retries are fixed."
_TOKENS: Final = "The tokens that are suppressed are fixed."

FOREIGN_FIELDS: Final = MappingProxyType(
    {
        # OpenAI
        "include": _refused("The service returns no token probabilities; `verbose_json` has those of segments."),
        "known_speaker_names": _refused(_NO_SPEAKERS),
        "known_speaker_references": _refused(_NO_SPEAKERS),
        "user": _ignored("It names the end user."),
        # vLLM
        "stream_include_usage": _ignored("The last event of a stream has the usage."),
        "stream_continuous_usage_stats": _ignored("The last event of a stream has the usage."),
        "to_language": _refused("The service translates into English only: use /v1/audio/translations."),
        "seed": _warned("Sampling cannot be repeated; the default, beam search, needs no seed."),
        "top_p": _warned(_SAMPLING, 1.0),
        "top_k": _warned(_SAMPLING, 0.0, -1.0),
        "min_p": _warned(_SAMPLING, 0.0),
        "frequency_penalty": _warned(_SAMPLING, 0.0),
        "presence_penalty": _warned(_SAMPLING, 0.0),
        "repetition_penalty": _warned("The service applies one of its own when a text repeats itself.", 1.0),
        "use_beam_search": _warned("Use beam_size=1 for a search without beams.", *_TRUE),
        "n": _refused("The answer has one transcript.", 1.0),
        "vllm_xargs": _warned("They are options of vLLM."),
        # faster-whisper, and with it speaches and others
        "prompt_reset_on_temperature": _warned("Doubtful text never becomes part of a prompt.", 0.5),
        "prefix": _warned("Use prompt for text that was said before."),
        "no_speech_threshold": _warned(_THRESHOLDS, 0.6),
        "log_prob_threshold": _warned(_THRESHOLDS, -1.0),
        "logprob_threshold": _warned(_THRESHOLDS, -1.0),
        "compression_ratio_threshold": _warned(_THRESHOLDS, 2.4),
        "hallucination_silence_threshold": _warned("Use vad_filter, which skips audio without speech."),
        "best_of": _warned("The service draws beam_size samples.", 5.0),
        "patience": _warned(_BEAMS, 1.0),
        "length_penalty": _warned(_BEAMS, 1.0),
        "no_repeat_ngram_size": _warned(_BEAMS, 0.0),
        "suppress_blank": _warned(_TOKENS, *_TRUE),
        "suppress_tokens": _warned(_TOKENS, -1.0, "[-1]"),
        "max_initial_timestamp": _warned("The model times its segments freely.", 1.0),
        "prepend_punctuations": _warned("The marks that are joined to words are fixed."),
        "append_punctuations": _warned("The marks that are joined to words are fixed."),
        "language_detection_threshold": _warned("The language of the first window with speech counts.", 0.5),
        "language_detection_segments": _warned("The language of the first window with speech counts.", 1.0),
        "multilingual": _warned("Use language=auto-per-chunk.", *_FALSE),
        "vad_parameters": _warned("Use vad_threshold, min_silence_duration_ms and speech_pad_ms."),
        "chunk_length": _warned("ASR_CHUNK_LENGTH_S sets it for all requests.", 30.0),
        "batch_size": _ignored("The service batches the windows of all requests."),
        "clip_timestamps": _refused("Send the part of the recording that you want.", 0.0, "[0]"),
        "diarize": _refused(_NO_SPEAKERS, *_FALSE),
        "num_speakers": _refused(_NO_SPEAKERS),
        "min_speakers": _refused(_NO_SPEAKERS),
        "max_speakers": _refused(_NO_SPEAKERS),
        # Groq
        "url": _refused("The service fetches no recordings: send it in the field file."),
    }
)
"""The known fields without an option, by name. `name[]`, `name[0]` and `name[key]` are fields of the same name."""


def strip_foreign(fields: Fields) -> tuple[Fields, tuple[str, ...]]:
    """Return the fields that the form reads, and a warning for each of the others that might change the text.

    Raises InvalidParameter: a field asks for what the service cannot do.
    """
    warnings = tuple(dict.fromkeys(_warnings(fields)))
    return tuple(pair for pair in fields if _bare(pair[0]) not in FOREIGN_FIELDS), warnings


def _warnings(fields: Fields) -> Iterator[str]:
    for name, value in fields:
        foreign = FOREIGN_FIELDS.get(_bare(name))
        if foreign is None or value == "" or _normal(value) in foreign.neutral:
            continue
        if foreign.treatment is Treatment.REFUSED:
            raise InvalidParameter(f"{_bare(name)!r} is not supported. {foreign.reason}", param=_bare(name))
        if foreign.treatment is Treatment.WARNED:
            yield f"{_bare(name)} has no effect. {foreign.reason}"


def _bare(name: str) -> str:
    return name.split("[", 1)[0]


def _normal(value: str) -> str | float:
    return float(value) if is_plain_number(value) else value.strip().lower()
