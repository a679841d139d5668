"""`asr-service listen`: its options, and the checks on them before any work."""

from pathlib import Path
from typing import Annotated

import typer

from asr_service.cli.service import CaFileOption, KeyOption, ServerOption, check_key, check_recording, check_server
from asr_service.cli.transcribe.backend import local_backend, service_backend


def listen_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="Recording that is played as fast as it was spoken, in place of the microphone."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="Language of the speech: a code such as en or zh-TW, or a name."),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Text that shows the spelling and style to use.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name or folder. Overrides ASR_MODEL.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device such as cpu or cuda:0. By default the first of ASR_DEVICES.")
    ] = None,
    server: ServerOption = None,
    api_key: KeyOption = None,
    ca_file: CaFileOption = None,
) -> None:
    r"""Transcribe speech while it is spoken, from the microphone or a recording.

    On a terminal, the text of the sentence that is being spoken is grey, and its final text has the terminal's colour.
    Elsewhere only the final texts are printed, a line for each turn. The microphone needs the extra `microphone`.

    Ctrl-C ends the sound, and the command prints the final text of what was said. A second Ctrl-C ends it at once.

    \b
    Examples:
      asr-service listen
      asr-service listen talk.mp3 --language en
      asr-service listen --server http://127.0.0.1:8000

    \b
    Exit codes:
      0    the recording has ended
      1    the recording cannot be decoded, or the model failed
      2    the command is wrong
      69   no model or no service is available
      78   a setting is wrong, or there is no microphone
      130  interrupted by Ctrl-C
    """
    if file is not None:
        check_recording(file)
    _check_server(server, model, device, ca_file)
    check_key(api_key)
    backend = service_backend(server, api_key, ca_file) if server else local_backend(model, device)
    from asr_service.cli.listen.run import Listening, listen_and_exit  # noqa: PLC0415 - slow to import

    listen_and_exit(Listening(file, backend, language, prompt))


def _check_server(server: str | None, model: str | None, device: str | None, ca_file: Path | None) -> None:
    if server is None:
        if ca_file is not None:
            raise typer.BadParameter("--ca-file applies only to a --server.")
        return
    if model is not None or device is not None:
        raise typer.BadParameter("--model and --device do not apply to a --server, which has its own.")
    check_server(server)
