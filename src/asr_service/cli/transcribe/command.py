"""`asr-service transcribe`: its options, and the checks on them before any work."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from asr_service.cli.backend import choose_backend
from asr_service.cli.numbers import number_option
from asr_service.cli.shared_options import (
    CaFileOption,
    DeviceOption,
    KeyOption,
    LanguageOption,
    ModelOption,
    PromptOption,
    ServerOption,
)
from asr_service.cli.transcribe.files.outputs import Renderer
from asr_service.cli.transcribe.files.plan import OutputConflict, OutputOptions, make_plan
from asr_service.cli.transcribe.options import form_fields, subtitle_style, text_options
from asr_service.cli.transcribe.types import STDIN
from asr_service.formats import FILE_FORMATS, Format

_DEFAULT_CONCURRENCY: Final = 4


def _parse_format(suffix: str) -> Format:
    if suffix not in FILE_FORMATS:
        raise typer.BadParameter(f"Format {suffix!r} is not available. Available: {', '.join(FILE_FORMATS)}.")
    return FILE_FORMATS[suffix]


def transcribe_command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Recordings, folders, glob patterns, or - for standard input.")
    ],
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            "-f",
            help="Output format. Repeat the option for several formats.",
            metavar="|".join(FILE_FORMATS),
            parser=_parse_format,
            autocompletion=lambda: list(FILE_FORMATS),
        ),
    ] = None,
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", "-o", help="Folder for the outputs; - prints them to standard output.")
    ] = None,
    language: LanguageOption = None,
    translate: Annotated[bool, typer.Option("--translate", help="Translate the speech into English.")] = False,
    prompt: PromptOption = None,
    hotwords: Annotated[str | None, typer.Option(help="Names and terms that are likely to occur.")] = None,
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Add the times of words to JSON.")] = False,
    max_line_width: Annotated[
        str | None, typer.Option(metavar="<int>", help="Maximum characters in a line of subtitles. Default 42.")
    ] = None,
    max_line_count: Annotated[
        str | None, typer.Option(metavar="<int>", help="Maximum lines in a subtitle cue. Default 2.")
    ] = None,
    highlight_words: Annotated[bool, typer.Option("--highlight-words", help="Add the times of words to VTT.")] = False,
    audio_track: Annotated[
        str | None,
        typer.Option(help="Audio track of a file that has several: its number from 1, or its language."),
    ] = None,
    vad: Annotated[
        bool | None, typer.Option("--vad/--no-vad", help="Skip parts without speech, or transcribe everything.")
    ] = None,
    beam_size: Annotated[str | None, typer.Option(metavar="<int>", help="Beam width, 1 to 10.")] = None,
    temperature: Annotated[
        str | None,
        typer.Option(metavar="<float>", help="0 uses beam search; a value up to 1 samples at that temperature."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    server: ServerOption = None,
    api_key: KeyOption = None,
    ca_file: CaFileOption = None,
    as_job: Annotated[
        bool,
        typer.Option(
            "--as-job",
            help="Make each recording a job of the --server, which goes on if the connection or this command ends.",
        ),
    ] = False,
    jobs: Annotated[
        int, number_option(int, "Recordings to transcribe at the same time.", "--jobs", "-j", least=1, most=64)
    ] = _DEFAULT_CONCURRENCY,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each result to standard output as a line of JSON.")
    ] = False,
) -> None:
    r"""Transcribe recordings to text, subtitles or JSON, with a model in this process or with a running service.

    The text of a single recording is printed. With several recordings, a folder or --format, files are written: next to
    the recordings, or below --output-dir in the same folder tree. talk.mp3 becomes talk.txt, or talk.mp3.txt if the
    folder also has a talk.wav.

    The same command continues a run that was stopped. An output that is newer than its recording and was made with the
    same options is kept. An output that was made with other options is replaced, unless it was changed since. A
    recording in progress goes on from its last segment; with --server it starts again, unless it is a job (--as-job).
    The hidden files for this are .asr-service.jsonl and, until a recording is finished, .asr-*.partial in the folders
    of the outputs.

    \b
    Examples:
      asr-service transcribe talk.mp3
      asr-service transcribe talk.mp3 -f srt -f vtt --language en
      asr-service transcribe interviews/ -f txt -f json -o transcripts/
      asr-service transcribe 'archive/**/*.flac' --server http://127.0.0.1:8000 --jobs 8
      ffmpeg -loglevel error -i film.mkv -vn -f wav - | asr-service transcribe - -f srt > film.srt
      asr-service transcribe calls/ --json | jq -r 'select(.error) | .source'

    \b
    Exit codes:
      0    everything is transcribed or up to date
      1    some recordings failed
      2    the command is wrong
      69   no model or no service is available
      78   a setting is wrong
      130  interrupted by Ctrl-C
    """
    outputs = _output_options(files, formats, output_dir, as_json=as_json, overwrite=overwrite)
    fields = form_fields(
        language=language,
        task="translate" if translate else None,
        initial_prompt=prompt,
        hotwords=hotwords,
        # As the service does: subtitle cues follow word times, but the words of a translation were not spoken.
        word_timestamps=word_timestamps or highlight_words or (outputs.has_subtitles and not translate) or None,
        audio_track=audio_track,
        vad_filter=vad,
        beam_size=beam_size,
        temperature=temperature,
    )
    style = subtitle_style(
        max_line_width=max_line_width, max_line_count=max_line_count, highlight_words=highlight_words
    )
    backend = choose_backend(server, api_key, ca_file, model, device, as_jobs=as_job)
    renderer = Renderer(style, word_timestamps, text_options(fields, backend))
    try:
        plan = make_plan(files, outputs, renderer.options_of)
    except OutputConflict as error:
        raise typer.BadParameter(str(error)) from None
    from asr_service.cli.transcribe.run import TranscribeRun, run_and_exit  # noqa: PLC0415 - slow to import

    run_and_exit(TranscribeRun(plan, fields, renderer, backend, n_concurrent=jobs, as_json=as_json))


def _output_options(
    files: list[str], formats: list[Format] | None, output_dir: str | None, *, as_json: bool, overwrite: bool
) -> OutputOptions:
    if STDIN in files and sys.stdin.isatty():
        raise typer.BadParameter(
            "- reads a recording from standard input, which is a terminal. Pipe a recording into the command."
        )
    chosen = tuple(dict.fromkeys(formats or [FILE_FORMATS["txt"]]))
    to_stdout = output_dir == STDIN
    if output_dir is None and len(files) == 1 and not as_json:
        to_stdout = files[0] == STDIN or (formats is None and _is_file(files[0]))
    if to_stdout and len(chosen) > 1:
        raise typer.BadParameter("Standard output takes one format. Use --output-dir with a folder for several.")
    if to_stdout and as_json:
        raise typer.BadParameter("--json uses standard output. Write the transcripts to a folder with --output-dir.")
    folder = None if to_stdout or output_dir is None else Path(output_dir)
    return OutputOptions(chosen, folder, to_stdout=to_stdout, overwrite=overwrite)


def _is_file(name: str) -> bool:
    return os.path.exists(name) and not os.path.isdir(name)  # noqa: PTH110, PTH112 - Path methods raise for some names
