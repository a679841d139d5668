"""The optional packages of this project."""

import shlex
import sys


def install_command(extra: str) -> str:
    """Return the command that adds the packages of an extra to this environment.

    The project is on no package index. Only the pip of an environment that has it finds the name.
    """
    return f"{shlex.quote(sys.executable)} -m pip install 'asr-service[{extra}]'"
