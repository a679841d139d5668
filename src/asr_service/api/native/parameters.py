"""Reads the fields of /transcribe and /translate."""

from collections.abc import Iterable, Mapping

from asr_service.api.native.schemas import LayoutParameters, TranscribeParameters
from asr_service.api.upload import Fields
from asr_service.engine.options import Task
from asr_service.errors import InvalidParameter, MalformedRequest
from asr_service.formats import FORMATS, Format, SubtitleStyle
from asr_service.validation import check_fields


def parse_parameters(fields: Fields) -> TranscribeParameters:
    """Check the names and values of the fields.

    Raises InvalidParameter: a field is unknown or its value is invalid.
    Raises MalformedRequest: a field is given twice.
    """
    return check_fields(TranscribeParameters, once(fields))


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields by name, without the empty ones that a web form left out.

    Raises MalformedRequest: a field is given twice.
    """
    fields: dict[str, str] = {}
    for name, value in given:
        if name in fields:
            raise MalformedRequest(f"Field {name[:64]!r} is given twice.", param=name[:64])
        fields[name] = value
    return {name: value for name, value in fields.items() if value != ""}


def chosen_format(parameters: TranscribeParameters, formats: Mapping[str, Format] = FORMATS) -> Format:
    """Return the requested one of `formats` in the requested subtitle style.

    Raises InvalidParameter: a style field does not fit the format or another field.
    """
    fmt = formats[parameters.response_format]
    given = {name: value for name in LayoutParameters.model_fields if (value := getattr(parameters, name)) is not None}
    if not given:
        return fmt
    if fmt.styled is None:
        name = next(iter(given))
        styled = "vtt" if name == "highlight_words" else "srt or vtt"
        raise InvalidParameter(f"{name} is only for subtitles. Use it with response_format={styled}.", param=name)
    style = SubtitleStyle(**given)
    _check_style(style, parameters)
    return fmt.in_style(style)


def needs_word_times(parameters: TranscribeParameters, task: Task) -> bool:
    """Return True if the format is better with word times: they decide where cues are cut.

    Not for a translation, whose words are not the spoken ones.
    """
    is_subtitles = FORMATS[parameters.response_format].styled is not None
    return is_subtitles and (task == "transcribe" or bool(parameters.highlight_words))


def _check_style(style: SubtitleStyle, parameters: TranscribeParameters) -> None:
    if style.min_cue_s > style.max_cue_s:
        raise InvalidParameter(
            f"min_cue_s={style.min_cue_s:g} is more than max_cue_s={style.max_cue_s:g}.", param="min_cue_s"
        )
    if style.highlight_words and parameters.response_format != "vtt":
        raise InvalidParameter(
            "SubRip has no times for words. Use highlight_words with response_format=vtt.", param="highlight_words"
        )
    if style.highlight_words and parameters.word_timestamps is False:
        raise InvalidParameter("highlight_words requires word_timestamps.", param="highlight_words")
