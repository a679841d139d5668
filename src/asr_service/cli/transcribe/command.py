"""`asr-service transcribe`: its options, and what they mean together."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from asr_service.cli.transcribe.files import Rendering
from asr_service.cli.transcribe.plan import Ambiguous, Wanted, make_plan
from asr_service.cli.transcribe.types import API_KEY_VARIABLE, STDIN, Fields, OutputFormat
from asr_service.errors import InvalidParameter
from asr_service.formats import SubtitleStyle

_DEFAULT_JOBS: Final = 4


def transcribe_command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Recordings, folders of them, patterns, or - for a pipe.")
    ],
    formats: Annotated[
        list[OutputFormat] | None, typer.Option("--format", "-f", help="What to write; may be given several times.")
    ] = None,
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", "-o", help="Folder to write into; - is standard output.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Language spoken, a code or an English name.")
    ] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Write English, whatever is spoken.")] = False,
    prompt: Annotated[str | None, typer.Option(help="Text that sets spelling and style.")] = None,
    hotwords: Annotated[str | None, typer.Option(help="Names and terms to expect.")] = None,
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Time each word in json.")] = False,
    max_line_width: Annotated[int | None, typer.Option(help="Most characters on a line of subtitles; 42.")] = None,
    max_line_count: Annotated[int | None, typer.Option(help="Most lines in a cue of subtitles; 2.")] = None,
    highlight_words: Annotated[bool, typer.Option("--highlight-words", help="Time each word in vtt.")] = False,
    vad: Annotated[bool | None, typer.Option("--vad/--no-vad", help="Leave out what holds no speech.")] = None,
    beam_size: Annotated[int | None, typer.Option(help="Hypotheses followed at once, 1 to 10.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 searches; up to 1 samples.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model's name or folder. ASR_MODEL.")] = None,
    device: Annotated[str | None, typer.Option(help="`cpu`, `cuda:0`, ... ASR_DEVICES, its first.")] = None,
    server: Annotated[str | None, typer.Option(help="A service to do the work, such as http://127.0.0.1:8000.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar=API_KEY_VARIABLE, help="The service's key, better given by the variable.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Recordings at a time.")] = _DEFAULT_JOBS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write what is there already anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell each result on standard output, as JSON.")] = False,
) -> None:
    r"""Turn recordings into text, subtitles or JSON: with a model in this process, or by a service.

    One recording alone is printed. Several, folders and formats are written beside the recordings (talk.mp3 gives
    talk.txt, or talk.mp3.txt where there is a talk.wav too) or as the same tree below --output-dir. What has been
    written since its recording was last changed is skipped, so that the same command goes on where it was stopped.

    \b
    Examples:
      asr-service transcribe talk.mp3
      asr-service transcribe talk.mp3 -f srt -f vtt --language en
      asr-service transcribe interviews/ -f txt -f json -o transcripts/
      asr-service transcribe 'archive/**/*.flac' --server http://127.0.0.1:8000 --jobs 8
      ffmpeg -loglevel error -i film.mkv -vn -f wav - | asr-service transcribe - -f srt > film.srt
      asr-service transcribe calls/ --json | jq -r 'select(.error) | .source'

    Ends with 0 where all is done, 1 where some failed, 2 where the command is wrong, 130 after Ctrl-C; with 69 where no
    model or no service is to be had, 78 where a setting is wrong.
    """
    wanted = _wanted(files, formats, output_dir, as_json=as_json, overwrite=overwrite)
    fields = _fields(
        language=language,
        task="translate" if translate else None,
        initial_prompt=prompt,
        hotwords=hotwords,
        # As the service decides it: cues are cut by word times, but a translation's words are not those spoken.
        word_timestamps=word_timestamps or highlight_words or (wanted.has_subtitles and not translate) or None,
        vad_filter=vad,
        beam_size=beam_size,
        temperature=temperature,
    )
    style = _style(max_line_width, max_line_count, highlight_words=highlight_words)
    _check_server(server, model, device)
    _check_key(api_key)
    try:
        plan = make_plan(files, wanted)
    except Ambiguous as error:
        raise typer.BadParameter(str(error)) from None
    from asr_service.cli.transcribe.work import Place, Work, do_work  # noqa: PLC0415 - slow, and not for a mistake

    place = Place(server, api_key, model, device)
    do_work(Work(plan, fields, Rendering(style, word_timestamps), place, at_once=jobs, as_json=as_json))


def _wanted(
    files: list[str], formats: list[OutputFormat] | None, output_dir: str | None, *, as_json: bool, overwrite: bool
) -> Wanted:
    if STDIN in files and sys.stdin.isatty():
        raise typer.BadParameter("- reads a recording from a pipe, and standard input is a terminal")
    chosen = tuple(dict.fromkeys(formats or [OutputFormat.TXT]))
    to_stdout = output_dir == STDIN
    if output_dir is None and len(files) == 1 and not as_json:
        to_stdout = files[0] == STDIN or (formats is None and _is_a_file(files[0]))
    if to_stdout and len(chosen) > 1:
        raise typer.BadParameter("one format at a time goes to standard output; --output-dir takes several")
    if to_stdout and as_json:
        raise typer.BadParameter("--json has standard output for itself; transcripts need another place")
    return Wanted(chosen, None if to_stdout or output_dir is None else Path(output_dir), to_stdout, overwrite)


def _is_a_file(name: str) -> bool:
    return os.path.exists(name) and not os.path.isdir(name)  # noqa: PTH110, PTH112 - Path's raise for some names


def _fields(**options: object) -> Fields:
    """Write the options as a request's form has them, and check them as the service does."""
    fields = tuple((name, _form_value(value)) for name, value in options.items() if value is not None)
    _check(dict(fields))
    _check_language(dict(fields).get("language"))
    return fields


def _style(max_line_width: int | None, max_line_count: int | None, *, highlight_words: bool) -> SubtitleStyle:
    layout = {"max_line_width": max_line_width, "max_line_count": max_line_count}
    _check({name: value for name, value in layout.items() if value is not None})
    usual = SubtitleStyle()
    return replace(
        usual,
        max_line_width=max_line_width or usual.max_line_width,
        max_line_count=max_line_count or usual.max_line_count,
        highlight_words=highlight_words,
    )


def _check(fields: Mapping[str, object]) -> None:
    from pydantic import ValidationError  # noqa: PLC0415 - slow to import

    from asr_service.api.native.schemas import TranscribeParameters  # noqa: PLC0415

    try:
        TranscribeParameters.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{first['loc'][0]}={first['input']!r}: {first['msg']}") from None


def _check_language(language: str | None) -> None:
    if language is None:
        return
    from asr_service.languages import DETECT, DETECT_EACH_WINDOW, parse_language  # noqa: PLC0415 - slow

    if language.strip().lower() in {DETECT, DETECT_EACH_WINDOW}:
        return
    try:
        parse_language(language)
    except InvalidParameter as error:
        raise typer.BadParameter(error.message) from None


def _check_server(server: str | None, model: str | None, device: str | None) -> None:
    if server is None:
        return
    if model is not None or device is not None:
        raise typer.BadParameter("--model and --device are of a model in this process; a --server has its own")
    try:
        address = urlsplit(server)
        usable = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise typer.BadParameter("--server takes an address such as http://127.0.0.1:8000")


def _check_key(api_key: str | None) -> None:
    """What cannot stand in a header is told before it is sent, and not repeated."""
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise typer.BadParameter(f"the key ({API_KEY_VARIABLE}) has a line end or another character that no key has")


def _form_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
