"""Downloads a model from the hub into the hub's own cache layout.

huggingface_hub finds the files and lays out the cache. The bytes are downloaded here: an interrupted `hf_hub_download`
starts again from the beginning (https://github.com/huggingface/huggingface_hub/pull/4228), and large-v3 has 3 GB.
"""

import errno
import hashlib
import re
import shutil
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from huggingface_hub import HfFileMetadata, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, and in no __all__
    build_hf_headers,
    hf_raise_for_status,
    http_stream_backoff,
)

from asr_service.models.progress import FetchFailed, OnProgress
from asr_service.models.registry import ModelSpec
from asr_service.models.store import ModelStore

TRIES: Final = 3
_BACK_OFF_S: Final = 1.0
_CHUNK_BYTES: Final = 1 << 20
_SAFE_ETAG: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_FINAL_STATUSES: Final = {401, 403, 404}


class _NotRetryable(FetchFailed):
    """A failure that another attempt would not change."""


def fetch_from_hub(store: ModelStore, spec: ModelSpec, progress: OnProgress) -> Path:
    """Download the files that the cache lacks. Return the model's folder. Raises FetchFailed."""
    for name in spec.files:
        if not (store.snapshot(spec) / name).exists():
            _fetch_with_tries(store, spec, name, progress)
    return store.snapshot(spec)


def _fetch_with_tries(store: ModelStore, spec: ModelSpec, name: str, progress: OnProgress) -> None:
    failed, best = 0, _partial_bytes(store, spec)
    while True:
        try:
            return _fetch_file(store, spec, name, progress)
        except _NotRetryable:
            raise
        except Exception as error:
            if _is_final(error):
                raise FetchFailed(f"{_address(spec, name)}: {_first_line(error)}") from error
            # An unstable connection still completes the file: after progress the tries count from one again.
            now = _partial_bytes(store, spec)
            failed, best = (1, now) if now > best else (failed + 1, best)
            if failed == TRIES:
                raise FetchFailed(f"{_address(spec, name)}: {_first_line(error)} ({TRIES} tries)") from error
        time.sleep(_BACK_OFF_S * 2 ** (failed - 1))


def _fetch_file(store: ModelStore, spec: ModelSpec, name: str, progress: OnProgress) -> None:
    metadata = get_hf_file_metadata(hf_hub_url(spec.repository, name, revision=spec.revision))
    etag = metadata.etag or ""
    if not _SAFE_ETAG.fullmatch(etag):
        raise _NotRetryable(f"{_address(spec, name)} is not served by a model hub: its ETag is {etag!r}")
    wanted = spec.sha256 if name == "model.bin" else None
    if wanted is not None and _SHA256.fullmatch(etag) and etag != wanted:
        raise _NotRetryable(f"{_address(spec, name)} has the sha256 {etag} instead of {wanted}")
    blob = store.repository(spec) / "blobs" / etag
    if not blob.exists():
        _fetch_blob(metadata, blob, name, progress)
        _check_sum(blob, wanted or etag)
        _partial(blob).rename(blob)
    # The blob is on the disk; this makes the links in the cache that other readers use.
    hf_hub_download(spec.repository, name, revision=spec.revision, cache_dir=store.hub)


def _fetch_blob(metadata: HfFileMetadata, blob: Path, name: str, progress: OnProgress) -> None:
    """Download the rest of `blob` into the partial file beside it."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(blob)
    have = partial.stat().st_size if partial.exists() else 0
    if metadata.size is not None and have >= metadata.size:
        return
    _check_space(blob.parent, (metadata.size or 0) - have)
    headers = _headers(metadata.location) | ({"Range": f"bytes={have}-"} if have else {})
    with http_stream_backoff(
        "GET",
        metadata.location,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
        retry_on_status_codes=(),
    ) as response:
        hf_raise_for_status(response)
        have = have if response.status_code == 206 else 0  # noqa: PLR2004 - 200 means the whole file
        with partial.open("ab" if have else "wb") as file:
            for chunk in response.iter_bytes():  # without a chunk size, which would buffer bytes before an interruption
                file.write(chunk)
                have += len(chunk)
                progress(name, have, metadata.size or have)
    if metadata.size is not None and have != metadata.size:
        raise OSError(f"received {have} of {metadata.size} bytes")


def _check_sum(blob: Path, expected: str) -> None:
    """Compare the sum of the partial file with the expected one, and delete the file if they differ.

    The hub's ETag is the sha256 of a large file, and git's sum of a small one.
    """
    partial = _partial(blob)
    if _SHA256.fullmatch(expected):
        digest = hashlib.sha256()
    elif _GIT_SHA1.fullmatch(expected):
        digest = hashlib.sha1(f"blob {partial.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return
    with partial.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        partial.unlink()
        raise OSError(f"the received file has the sum {digest.hexdigest()} instead of {expected}")


def _check_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise _NotRetryable(f"{folder} has {free_bytes / 1e9:.1f} GB free, but {needed_bytes / 1e9:.1f} GB are needed")


def _headers(location: str) -> dict[str, str]:
    """Return the headers for a file's final address. The token goes only to the hub, never to a redirect's target."""
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if urlsplit(location).netloc != urlsplit(constants.ENDPOINT).netloc:
        headers.pop("authorization", None)
    return headers


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def _partial_bytes(store: ModelStore, spec: ModelSpec) -> int:
    return sum(path.stat().st_size for path in (store.repository(spec) / "blobs").glob("*.incomplete"))


def _is_final(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in _FINAL_STATUSES
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT}


def _address(spec: ModelSpec, name: str) -> str:
    return hf_hub_url(spec.repository, name, revision=spec.revision)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
