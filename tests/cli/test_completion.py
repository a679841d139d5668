"""What a shell offers where its user presses the tabulator."""

import subprocess

import pytest

from cli.terminal import COMMAND, environment, run


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asr-service ", {"serve", "transcribe", "doctor"}),
        ("asr-service transcribe --fo", {"--format"}),
        ("asr-service transcribe -f ", {"txt", "srt", "vtt", "tsv", "json"}),
        ("asr-service models ", {"list", "fetch", "verify"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete(shell, line, offered, tmp_path):
    """Commands, options and their values, as a script of --show-completion asks for them."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(f"{line}.".split()) - 1), "_TYPER_COMPLETE_ARGS": line}
    told = run(cwd=tmp_path, **words, _ASR_SERVICE_COMPLETE=f"complete_{shell}")
    assert all(word in told.stdout for word in offered), told.stderr
    assert told.stderr == ""


def test_completion_can_be_installed(tmp_path):
    """--show-completion prints the script that asks so, for the shell that it is started from."""
    told = subprocess.run(
        ["bash", "-c", f"'{COMMAND[0]}' --show-completion && :"],  # with more to do, bash stays
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "_ASR_SERVICE_COMPLETE=complete_bash" in told.stdout, told.stderr
