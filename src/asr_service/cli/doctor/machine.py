"""`doctor`'s checks of the machine: Python, settings, disks, the address, keys, limits."""

import http.client
import json
import os
import platform
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Final

from asr_service import __version__
from asr_service.access.keys import read_keys
from asr_service.cli.doctor.findings import Finding, failure, gigabytes, ok, warning
from asr_service.env_file import ENV_FILE
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Device
from asr_service.serving.limits import FILES_OF_A_WORKER
from asr_service.serving.sockets import local_host, run_directory, tcp_listener
from asr_service.settings import Settings, given_variables, load_settings

_FEW_FILES: Final = 1024
_LITTLE_SHM_BYTES: Final = 32 * 1024**2
_LITTLE_SPOOL_BYTES: Final = 256 * 1024**2
_ASK_TIMEOUT_S: Final = 2.0


def check_python() -> list[Finding]:
    return [ok("python", f"{platform.python_version()}, asr-service {__version__}, on {os.cpu_count()} processors")]


def check_settings() -> tuple[Settings, list[Finding]]:
    """Read the settings. If they are refused, the other checks use the defaults."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        what = f"{error.param} in the environment or in .env" if error.param != ENV_FILE else "the file"
        fix = f"correct {what}; `asr-service settings` describes each setting"
        return Settings.model_construct(), [failure("settings", error.message, fix)]
    n_set = len(given_variables())
    return settings, [ok("settings", f"{n_set} set in the environment and .env, all valid")]


def check_spool(settings: Settings) -> list[Finding]:
    """Check the disk of the temporary directory, where uploads are stored until they are transcribed."""
    folder = Path(tempfile.gettempdir())
    free_bytes = shutil.disk_usage(folder).free
    message = f"{folder} has {gigabytes(free_bytes)} free for uploads"
    fix = "set TMPDIR to a folder on a larger disk, or lower ASR_MAX_UPLOAD_BYTES"
    if free_bytes < _LITTLE_SPOOL_BYTES:
        return [failure("upload disk", message, fix)]
    if free_bytes < settings.max_upload_bytes:
        limit = gigabytes(settings.max_upload_bytes)
        return [warning("upload disk", f"{message}, but one upload may have {limit}", fix)]
    return [ok("upload disk", message)]


def check_address(settings: Settings, devices: tuple[Device, ...]) -> list[Finding]:
    """Check the address: with one slot a free port, with several a folder for their sockets."""
    if len(devices) > 1:
        return _check_socket_folder(settings)
    try:
        tcp_listener(settings.host, settings.port).close()
    except ConfigurationError as error:
        if _is_ourselves(settings):
            there = f"asr-service already listens on {settings.host}:{settings.port}"
            return [warning("address", there, "stop it before starting another, or set ASR_PORT to another port")]
        return [failure("address", error.message, "stop the program that uses it, or set ASR_PORT or ASR_HOST")]
    return [ok("address", f"{settings.host}:{settings.port} is free")]


def _check_socket_folder(settings: Settings) -> list[Finding]:
    folder = run_directory(settings)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return [ok("address", f"the sockets of the slots will be in {folder}")]
    return [
        failure(
            "address",
            f"{folder} is for the sockets of the slots but cannot be written",
            "set ASR_SOCKET_DIR to a writable folder",
        )
    ]


def _is_ourselves(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(local_host(settings.host), settings.port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return "model_loaded" in json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return False
    finally:
        connection.close()


def check_keys(settings: Settings) -> list[Finding]:
    """Check that the API keys can be read, and that a service that others can reach has keys."""
    try:
        n_keys = len(read_keys(settings))
    except ConfigurationError as error:
        return [failure("keys", error.message, "correct ASR_API_KEYS or ASR_API_KEYS_FILE")]
    if n_keys:
        return [ok("keys", f"{n_keys} API keys")]
    if settings.host in {"127.0.0.1", "::1", "localhost"}:
        return [ok("keys", f"none; every program that can reach {settings.host} may call the service")]
    message = f"the service listens on {settings.host} without API keys: everybody who can reach it may call it"
    return [
        warning("keys", message, "create a key with `asr-service keys new NAME`, or let a proxy authenticate clients")
    ]


def check_limits() -> list[Finding]:
    return [_open_files(), _shared_memory()]


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the service raises its soft limit
    if 0 <= hard < _FEW_FILES:
        fix = f"run `ulimit -n {_FEW_FILES}` or more as root; set LimitNOFILE= in a systemd unit"
        level = failure if hard < FILES_OF_A_WORKER else warning  # the service does not start with less
        return level("limits", f"a process may have {hard} files open, connections included", fix)
    return ok("limits", f"a process may have {'any number of' if hard < 0 else hard} files open")


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")  # noqa: S108 - only its free space is read
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return warning("limits", f"{folder} cannot be written", "mount a tmpfs there; in a container, --tmpfs /dev/shm")
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _LITTLE_SHM_BYTES:
        return warning("limits", f"{folder} has {free_bytes // 2**20} MiB free", "in a container, --shm-size=256m")
    return ok("limits", f"{folder} has {gigabytes(free_bytes)} free")
