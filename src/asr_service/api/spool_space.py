"""Reserves a part of the upload disk for small uploads."""

import errno
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

_SMALL_BYTES: Final = 1024**2
"""Size up to which an upload may use the last free space."""
_MAX_RESERVE_BYTES: Final = 64 * 1024**2
_RESERVED_SHARE: Final = 1 / 8
"""Maximum reserve, as a fraction of the disk."""


async def leave_space(body: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Yield the parts of a body, which the caller writes to the temporary directory.

    Raises OSError: the body is not small, and the disk has only the space that is kept for small ones. Without it, one
    large upload that does not fit would also make every clip fail that is sent at the same time.
    """
    n_unchecked = 0
    async for part in body:
        yield part
        n_unchecked += len(part)
        if n_unchecked > _SMALL_BYTES:
            n_unchecked = 0
            _check()


def _check() -> None:
    disk = os.statvfs(tempfile.gettempdir())
    if disk.f_bavail < min(_MAX_RESERVE_BYTES / disk.f_frsize, _RESERVED_SHARE * disk.f_blocks):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
