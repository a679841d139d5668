"""The fields that lay out subtitles."""

from asr_service.api.native.schemas import TranscribeParameters
from asr_service.engine.options import Task
from asr_service.errors import InvalidParameter
from asr_service.formats import FORMATS, Format, SubtitleStyle

_LAYOUT = ("max_line_width", "max_line_count", "min_cue_s", "max_cue_s", "max_chars_per_second", "highlight_words")
"""Fields of TranscribeParameters and of SubtitleStyle."""


def chosen_format(asked: TranscribeParameters) -> Format:
    """The format asked for, laid out as asked for. Raises InvalidParameter."""
    fmt = FORMATS[asked.response_format]
    given = {name: value for name in _LAYOUT if (value := getattr(asked, name)) is not None}
    if not given:
        return fmt
    if fmt.styled is None:
        name = next(iter(given))
        formats = "vtt" if name == "highlight_words" else "srt or vtt"
        raise InvalidParameter(f"{name} is for subtitles: response_format={formats}", param=name)
    style = SubtitleStyle(**given)
    _check(style, asked)
    return fmt.in_style(style)


def words_wanted(asked: TranscribeParameters, task: Task) -> bool:
    """Whether the format asked for is better with word times: cues are cut by them.

    Not in a translation, whose words are not those that were spoken.
    """
    subtitles = FORMATS[asked.response_format].styled is not None
    return subtitles and (task == "transcribe" or bool(asked.highlight_words))


def _check(style: SubtitleStyle, asked: TranscribeParameters) -> None:
    if style.min_cue_s > style.max_cue_s:
        raise InvalidParameter(
            f"min_cue_s={style.min_cue_s:g} is more than max_cue_s={style.max_cue_s:g}", param="min_cue_s"
        )
    if style.highlight_words and asked.response_format != "vtt":
        raise InvalidParameter("SubRip has no times for words; ask for response_format=vtt", param="highlight_words")
    if style.highlight_words and asked.word_timestamps is False:
        raise InvalidParameter("highlight_words needs word_timestamps", param="highlight_words")
