"""What `doctor` asks of the machine: Python, settings, disks, the address, limits."""

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
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Device
from asr_service.serving.sockets import run_directory, tcp_listener
from asr_service.settings import ENV_FILE, PREFIX, Settings, given_names, load_settings

_FEW_FILES: Final = 1024
_LITTLE_SHM_BYTES: Final = 32 * 1024**2
_LITTLE_SPOOL_BYTES: Final = 256 * 1024**2
_ASK_TIMEOUT_S: Final = 2.0


def check_python() -> list[Finding]:
    return [ok("python", f"{platform.python_version()}, asr-service {__version__}, on {os.cpu_count()} processors")]


def check_settings() -> tuple[Settings, list[Finding]]:
    """Read the settings; where they are refused, the rest of the checks go on with the defaults."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        what = f"{error.param} in the environment or in .env" if error.param != ENV_FILE else "the file"
        cure = f"correct {what}; `asr-service settings` says what each takes"
        return Settings.model_construct(), [failure("settings", error.message, cure)]
    n_set = len({name.upper() for name in given_names() if name.upper().startswith(PREFIX)})
    return settings, [ok("settings", f"{n_set} set in the environment and .env, all known")]


def check_spool(settings: Settings) -> list[Finding]:
    """Uploads wait on the temporary directory's disk while they come in and are transcribed."""
    folder = Path(tempfile.gettempdir())
    free_bytes = shutil.disk_usage(folder).free
    told = f"{folder} has {gigabytes(free_bytes)} for uploads"
    cure = "set TMPDIR to a folder on a larger disk, or ASR_MAX_UPLOAD_BYTES to less"
    if free_bytes < _LITTLE_SPOOL_BYTES:
        return [failure("upload disk", told, cure)]
    if free_bytes < settings.max_upload_bytes:
        limit = gigabytes(settings.max_upload_bytes)
        return [warning("upload disk", f"{told}, and one upload may be {limit}", cure)]
    return [ok("upload disk", told)]


def check_address(settings: Settings, devices: tuple[Device, ...]) -> list[Finding]:
    """See that the address is free: a port with one slot, a folder for sockets with several."""
    if len(devices) > 1:
        return _check_socket_folder(settings)
    try:
        tcp_listener(settings.host, settings.port).close()
    except ConfigurationError as error:
        if _is_ourselves(settings):
            there = f"asr-service serves on {settings.host}:{settings.port} already"
            return [warning("address", there, "stop it before starting another, or set ASR_PORT to another port")]
        return [failure("address", error.message, "stop what holds it, or set ASR_PORT, ASR_HOST")]
    return [ok("address", f"{settings.host}:{settings.port} is free")]


def _check_socket_folder(settings: Settings) -> list[Finding]:
    folder = run_directory(settings)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return [ok("address", f"the slots' sockets go to {folder}")]
    return [failure("address", f"{folder} cannot be written, and the slots' sockets go there", "set ASR_SOCKET_DIR")]


def _is_ourselves(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - the reverse of it
    connection = http.client.HTTPConnection(host, settings.port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return "model_loaded" in json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return False
    finally:
        connection.close()


def check_keys(settings: Settings) -> list[Finding]:
    """See that the keys can be read, and that a service which others reach asks for one."""
    try:
        n_keys = len(read_keys(settings))
    except ConfigurationError as error:
        return [failure("keys", error.message, "correct ASR_API_KEYS or ASR_API_KEYS_FILE")]
    if n_keys:
        return [ok("keys", f"{n_keys} may call")]
    if settings.host in {"127.0.0.1", "::1", "localhost"}:
        return [ok("keys", f"none: whoever reaches {settings.host} may call")]
    told = f"the service listens on {settings.host} without keys: whoever reaches it may call"
    return [warning("keys", told, "`asr-service keys new NAME` makes a key; or have a proxy ask for one")]


def check_limits() -> list[Finding]:
    return [_open_files(), _shared_memory()]


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEW_FILES:
        cure = f"`ulimit -n {_FEW_FILES}` or more; LimitNOFILE= in a systemd unit"
        return warning("limits", f"a process may have {soft} files open, sockets included", cure)
    return ok("limits", f"a process may have {'any number of' if soft < 0 else soft} files open")


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")  # noqa: S108 - looked at, not written
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return warning("limits", f"{folder} cannot be written", "mount a tmpfs there; in a container, --tmpfs /dev/shm")
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _LITTLE_SHM_BYTES:
        return warning("limits", f"{folder} has {free_bytes // 2**20} MiB left", "in a container, --shm-size=256m")
    return ok("limits", f"{folder} has {gigabytes(free_bytes)}")
