"""The configuration of a session: how updates change it, and the engine's options that follow from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from asr_service.api.openai.parameters import language_candidates, require_served
from asr_service.api.openai.realtime.schemas import (
    LOGPROBS,
    WORDS,
    Audio,
    SemanticVad,
    SessionConfiguration,
    TurnDetection,
)
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.pipeline.live.options import Delay, LiveOptions
from asr_service.engine.pipeline.live.options import ServerVad as EngineVad
from asr_service.engine.request_options import MAX_PROMPT_CHARS, RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.errors import InvalidParameter, ModelNotFound, RequestError
from asr_service.languages import chosen_script
from asr_service.settings import Settings
from asr_service.validation import describe_error

_BETA_FIELDS: Final = frozenset(
    {"input_audio_format", "input_audio_transcription", "input_audio_noise_reduction", "turn_detection"}
)
_MAX_LISTED: Final = 20
_MAX_NAME_CHARS: Final = 64
_SILENCE_MS: Final = {"high": 300, "medium": 600, "auto": 600, "low": 1200}
"""By the eagerness of `semantic_vad`."""
_COMMITTED_BY_CLIENTS: Final = ("gpt-realtime-whisper", "gpt-live-transcribe")
"""OpenAI's models without turn detection. Clients of them leave the field out, and commit their turns."""
_KEPT_NULL: Final = frozenset({"turn_detection"})
"""Fields for which null is a value. In others it restores the default."""


_TAGS: Final = frozenset({"audio/pcm", "audio/pcmu", "audio/pcma", "server_vad", "semantic_vad"})


@dataclass(frozen=True, slots=True)
class Configuration:
    """The effective configuration of a session."""

    session: SessionConfiguration = field(default_factory=SessionConfiguration)
    unsupported: tuple[str, ...] = ()
    """Paths of fields that the last update has and that have no effect."""
    has_own_turns: bool = False
    """Whether an update has set the turn detection. If none has, a model without turn detection turns it off."""

    def updated(self, update: Mapping[str, Any]) -> "Configuration":
        """Return the configuration after an update. Fields that it leaves out keep their values; null clears.

        Raises InvalidParameter: a value is not valid, or the update has the form of the beta; `param` is its path.
        """
        if beta := sorted(_BETA_FIELDS & update.keys()):
            raise InvalidParameter(
                f"session.{beta[0]} belongs to the beta of the Realtime API, which is not supported. Use the form of "
                "the general availability: session.audio.input.",
                param=f"session.{beta[0]}",
            )
        merged = _merge(self.session.model_dump(mode="json"), update)
        try:
            session = SessionConfiguration.model_validate(merged)
        except ValidationError as error:
            raise _refusal(error) from error
        except InvalidParameter as error:
            raise _at_its_path(error) from error
        asked = (update.get("audio") or {}).get("input") or {}
        has_own_turns = self.has_own_turns or "turn_detection" in asked
        if not has_own_turns:
            session = _with_turns_of_its_model(session)
        unsupported = tuple(_without_effect(update, session.model_dump(mode="json")))
        return Configuration(session, unsupported[:_MAX_LISTED], has_own_turns)

    def to_json(self, model: SpeechModel) -> dict[str, Any]:
        """Return the configuration as events have it. The model has its own name if the client has not named it."""
        shown = self.session.model_dump(mode="json")
        transcription = shown["audio"]["input"]["transcription"]
        transcription["model"] = transcription["model"] or model.facts.name
        return shown | {"unsupported": list(self.unsupported)} if self.unsupported else shown

    def stored(self) -> str:
        """Return what `updated` needs to make this configuration from the default one, as JSON."""
        return self.session.model_dump_json(exclude_defaults=not self.has_own_turns)

    def live_options(self, settings: Settings, model: SpeechModel) -> LiveOptions:
        """Return the engine's options. Raises InvalidParameter, ModelNotFound: the model cannot follow them."""
        try:
            return self._live_options(settings, model)
        except (InvalidParameter, ModelNotFound) as error:
            raise _at_its_path(error) from error

    def _live_options(self, settings: Settings, model: SpeechModel) -> LiveOptions:
        asked = self.session.audio.input.transcription
        if asked.model is not None:
            require_served(asked.model, settings, model)
        language, candidates = language_candidates(asked.languages, asked.language)
        options = RequestOptions(
            language=language,
            initial_prompt=asked.prompt[-MAX_PROMPT_CHARS:] if asked.prompt else None,
            hotwords=", ".join(asked.keywords)[:MAX_PROMPT_CHARS] or None,
            word_timestamps=bool({LOGPROBS, WORDS} & set(self.session.include)) or None,
        )
        script = next(filter(None, map(chosen_script, asked.languages)), None)
        decoding = resolve_options(options, settings, model, languages=candidates, script=script)
        vad = _engine_vad(self.session.audio.input.turn_detection)
        return LiveOptions(decoding=decoding, turn_detection=vad, delay=Delay(asked.delay))


def _engine_vad(detection: TurnDetection | None) -> EngineVad | None:
    if detection is None:
        return None
    if isinstance(detection, SemanticVad):
        return EngineVad(silence_duration_ms=_SILENCE_MS[detection.eagerness])
    return EngineVad(
        threshold=detection.threshold,
        prefix_padding_ms=detection.prefix_padding_ms,
        silence_duration_ms=detection.silence_duration_ms,
        idle_timeout_ms=detection.idle_timeout_ms,
    )


def _merge(current: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Return the current values with those of the update. An object whose `type` changes keeps none of its fields."""
    merged = dict(current)
    for name, value in update.items():
        before = current.get(name)
        if value is None and name not in _KEPT_NULL:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(before, Mapping):
            is_same_type = value.get("type", before.get("type")) == before.get("type")
            merged[name] = _merge(before if is_same_type else {}, value)
        else:
            merged[name] = value
    return merged


def _with_turns_of_its_model(session: SessionConfiguration) -> SessionConfiguration:
    """Turn the turn detection off if the session names a model without it."""
    audio_input = session.audio.input
    if not (audio_input.transcription.model or "").startswith(_COMMITTED_BY_CLIENTS):
        return session
    without = audio_input.model_copy(update={"turn_detection": None})
    return session.model_copy(update={"audio": Audio(input=without)})


def _without_effect(update: Mapping[str, Any], effective: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the paths of the update's values that the effective configuration does not have."""
    for name, value in update.items():
        path = f"{above}{name[:_MAX_NAME_CHARS]}"
        if value is None:
            continue
        known = effective.get(name)
        if known is None:
            yield path
        elif isinstance(value, Mapping) and isinstance(known, Mapping):
            yield from _without_effect(value, known, f"{path}.")
        elif isinstance(value, list) and isinstance(known, list):
            others = (each for each in value if isinstance(each, str) and each not in known)
            yield from (f"{path}.{each[:_MAX_NAME_CHARS]}" for each in others)


def _refusal(error: ValidationError) -> InvalidParameter:
    """Describe the first error. Its location also has the tag by which pydantic chose one branch of a union."""
    first = error.errors()[0]
    path = ".".join(["session", *(str(part)[:_MAX_NAME_CHARS] for part in first["loc"] if part not in _TAGS)])
    if first["type"] == "union_tag_invalid":
        tag, expected = str(first["ctx"]["tag"])[:_MAX_NAME_CHARS], first["ctx"]["expected_tags"].replace("'", "")
        return InvalidParameter(f"{path}.type={tag!r} is not valid: expected one of {expected}.", param=f"{path}.type")
    if first["type"] == "union_tag_not_found":
        return InvalidParameter(f"Field '{path}.type' is required.", param=f"{path}.type")
    return InvalidParameter(f"session.{describe_error(SessionConfiguration, error)}", param=path)


def _at_its_path(error: RequestError) -> RequestError:
    """Return an error about a field of the transcription with the path of that field."""
    return type(error)(error.message, param=f"session.audio.input.transcription.{error.param}")
