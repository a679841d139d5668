"""Sockets: one TCP listener for one slot, or a unix socket for each of several slots."""

import errno
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import psutil

from asr_service.errors import ConfigurationError
from asr_service.settings import Settings

BACKLOG = 2048
_MAX_ADDRESS_BYTES = 107  # of the path in sockaddr_un, without the final zero
_MAX_SLOTS = 999
_MODE = 0o660  # the proxy connects as a member of the group
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the reverse of binding to them


def tcp_listener(host: str, port: int) -> socket.socket:
    """Listen on `host:port`; port 0 is a free one.

    Raises ConfigurationError: when the address is invalid or in use; the message names the process that has the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:  # UnicodeError if a part of the name is empty
        reason = f": {error.strerror}" if isinstance(error, OSError) else ""
        raise ConfigurationError(f"ASR_HOST={host!r} is not a valid host name{reason}.", param="ASR_HOST") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _bind_error(host, port, error) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a TCP listener."""
    host, port = listener.getsockname()[:2]
    return f"http://{host_and_port(host, port)}"


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets, as URLs and Nginx write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_host(host: str) -> str:
    """Return the address at which this machine reaches a listener on `host`: not a wildcard."""
    return _LOOPBACKS.get(host, host)


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine can reach the listener."""
    return ip_address(listener.getsockname()[0].split("%")[0]).is_loopback


def run_directory(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of sockets and shared files, as ASR_SOCKET_DIR's description says."""
    if settings.socket_dir is not None:
        return settings.socket_dir
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].split(":")[0])  # systemd joins several with colons
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "asr-service"
    return Path(tempfile.gettempdir()) / f"asr-service-{os.geteuid()}"  # each user can have one


def make_directory(directory: Path, mode: int) -> None:
    """Create the directory if it is missing, with this mode whatever the process's umask is. Raises OSError."""
    try:
        directory.mkdir(parents=True, mode=mode)
    except FileExistsError:
        if not directory.is_dir():
            raise
    else:
        directory.chmod(mode)


def own_directory(directory: Path) -> None:
    """Create the directory if it is missing.

    Raises ConfigurationError: when it cannot be created, or belongs to another user.
    """
    try:
        make_directory(directory, 0o750)
        _check_owner(directory)
    except OSError as error:
        raise _directory_error(directory, error.strerror or str(error)) from error


def claim_directory(directory: Path) -> int:
    """Create and lock the directory, and remove the sockets that a killed service left.

    Returns the descriptor of the lock. Workers inherit it, and closing every copy releases the lock.

    Raises ConfigurationError: when the directory cannot be written, belongs to another user, or is in use by another
    service.
    """
    if len(os.fsencode(_temporary(socket_path(directory, _MAX_SLOTS)))) > _MAX_ADDRESS_BYTES:
        raise _directory_error(directory, f"the paths of its sockets would have more than {_MAX_ADDRESS_BYTES} bytes")
    own_directory(directory)
    try:
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in directory.glob("slot-*.sock*"):
            stale.unlink()
    except BlockingIOError:
        raise _directory_error(
            directory, "it is in use by another asr-service, or by its workers that are finishing their last requests"
        ) from None
    except OSError as error:
        raise _directory_error(directory, error.strerror or str(error)) from error
    return lock


def socket_path(directory: Path, slot: int) -> Path:
    """Return the path of a slot's unix socket."""
    return directory / f"slot-{slot}.sock"


def unix_listener(path: Path) -> socket.socket:
    """Listen at `path`. The path appears only when clients can connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    listener.bind(str(temporary))
    temporary.chmod(_MODE)
    listener.listen(BACKLOG)
    temporary.rename(path)
    return listener


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _bind_error(host: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"Port {port} of {host} is in use by {_holder(port)}. Stop it, or set ASR_PORT to another port (0 takes a "
            "free one).",
            param="ASR_PORT",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        reason = f"Port {port} needs a privilege that this user does not have. Set ASR_PORT to 1024 or more."
        return ConfigurationError(reason, param="ASR_PORT")
    return ConfigurationError(f"Cannot listen on {host}:{port}: {error.strerror}. Change ASR_HOST.", param="ASR_HOST")


def _holder(port: int) -> str:
    """Return a description of the process that listens on the port. The system hides processes of other users."""
    try:
        found = psutil.net_connections(kind="tcp")
        listening = (c for c in found if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port)
        pid = next((c.pid for c in listening if c.pid), None)
        return "another process, perhaps another asr-service" if pid is None else _name(pid)
    except psutil.Error:
        return "another process, perhaps another asr-service"


def _name(pid: int) -> str:
    process = psutil.Process(pid)
    return f"{' '.join(process.cmdline()[:4]) or process.name()} (pid {pid})"


def _check_owner(directory: Path) -> None:
    """Refuse a link or directory of another user in a directory that everyone can write, such as /tmp."""
    found = directory.stat(follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is not a directory")
    shared = bool(directory.parent.stat().st_mode & stat.S_IWOTH)
    if shared and (stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid()):
        raise PermissionError(errno.EACCES, "it belongs to another user")


def _directory_error(directory: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The directory {directory}, for sockets and shared files, cannot be used: {reason}. Set ASR_SOCKET_DIR to a "
        "directory that this user can write and no other service uses.",
        param="ASR_SOCKET_DIR",
    )
