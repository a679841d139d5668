"""Run `asr-service` as a process, as a user does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COMMAND = (str(Path(sys.executable).with_name("asr-service")),)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ASR", "HF_"))} | dict(given)


def run(*arguments: str, cwd: Path, stdin: Any = subprocess.DEVNULL, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Undecodable bytes of the output become surrogates, as in file names."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=90,
        check=False,
    )


def begin(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, closed: Iterable[int] = (), **options: Any
) -> subprocess.Popen[bytes]:
    """Start it and leave it running. Ctrl-C reaches it even if the tests run in the background.

    `closed` are the descriptors that are closed before it starts.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor in closed:
            os.close(descriptor)

    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(env or {}),
        preexec_fn=prepare,  # noqa: PLW1509 - Popen has no option for this
        **(pipes | options),
    )
