"""`asr-service listen`: its options, and the checks on them before any work."""

from pathlib import Path
from typing import Annotated

import typer

from asr_service.cli.backend import choose_backend
from asr_service.cli.shared_options import (
    CaFileOption,
    DeviceOption,
    KeyOption,
    LanguageOption,
    ModelOption,
    PromptOption,
    ServerOption,
    check_recording,
)


def listen_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="Recording that is played as fast as it was spoken, in place of the microphone."),
    ] = None,
    language: LanguageOption = None,
    prompt: PromptOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    server: ServerOption = None,
    api_key: KeyOption = None,
    ca_file: CaFileOption = None,
) -> None:
    r"""Transcribe speech while it is spoken, from the microphone or a recording.

    On a terminal, the text of the sentence that is being spoken is grey, and its final text has the terminal's colour.
    Elsewhere only the final texts are printed, a line for each turn. The microphone needs further packages: without
    them, the command says how to install them.

    Ctrl-C ends the sound, and the command prints the final text of what was said. A second Ctrl-C ends it at once.

    \b
    Examples:
      asr-service listen
      asr-service listen talk.mp3 --language en
      asr-service listen --server http://127.0.0.1:8000

    \b
    Exit codes:
      0    the recording has ended
      1    the recording cannot be decoded, or the model failed on some or all of it
      2    the command is wrong
      69   no model or no service is available
      78   a setting is wrong, or there is no microphone
      130  interrupted by Ctrl-C
    """
    if file is not None:
        check_recording(file)
    backend = choose_backend(server, api_key, ca_file, model, device)
    from asr_service.cli.listen.run import Listening, listen_and_exit  # noqa: PLC0415 - slow to import

    listen_and_exit(Listening(file, backend, language, prompt))
