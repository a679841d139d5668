"""What commands print: text that is safe on a terminal, the reasons of errors, and standard output for programs."""

import errno
import os
import sys
import unicodedata
from typing import Final

from asr_service.errors import StartupError

_BIDI_AND_SEPARATORS: Final = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
"""Characters that reverse or break the text after them: https://unicode.org/reports/tr9/"""


class DiskFull(StartupError):
    """Nothing more can be written, so the run ends."""

    code = "disk_full"


def printable(text: str) -> str:
    """Escape control characters, undecodable bytes, and characters that change the direction of the text."""
    return "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    # Cc: escape sequences and line ends. Cs: bytes of a name that are not text. Cf would also escape emoji joiners.
    if unicodedata.category(letter) in {"Cc", "Cs"} or letter in _BIDI_AND_SEPARATORS:
        return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
    return letter


def os_reason(error: OSError) -> str:
    """Describe the error of a file or folder, with what to do if a permission is missing."""
    reason = error.strerror or str(error)
    reason = reason[:1].lower() + reason[1:]
    if error.strerror != os.strerror(errno.EACCES):
        return reason
    return f"{reason}. Your user must be able to read the file, and to read and enter each folder (chmod +rX)."


def print_bytes(text: bytes) -> None:
    """Write to standard output and flush it.

    Raises BrokenPipeError: the reader has closed the pipe.
    Raises DiskFull: any other failure to write.
    """
    try:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskFull(f"standard output: {(error.strerror or str(error)).lower()}") from error
