"""The sockets: one TCP listener for one slot, a unix socket a slot for several."""

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
_LONGEST_ADDRESS = 107  # bytes of sockaddr_un's path, less the end of the string
_MOST_SLOTS = 999
_MODE = 0o660  # the proxy reaches it through its group
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the reverse of binding to them


def tcp_listener(host: str, port: int) -> socket.socket:
    """Listen on `host:port`; 0 is a free port. Raises ConfigurationError, which names who has the port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:  # the latter where a name has an empty part
        why = error.strerror if isinstance(error, OSError) else "no name is like that"
        raise ConfigurationError(f"ASR_HOST={host!r} is no address: {why}", param="ASR_HOST") from error
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
    host, port = listener.getsockname()[:2]
    return f"http://{host_and_port(host, port)}"


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets, as URLs and Nginx write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_host(host: str) -> str:
    """Return the address at which this machine reaches a listener on `host`: not a wildcard."""
    return _LOOPBACKS.get(host, host)


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ip_address(listener.getsockname()[0].split("%")[0]).is_loopback


def run_directory(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Where sockets and shared metrics are, as ASR_SOCKET_DIR's description says."""
    if settings.socket_dir is not None:
        return settings.socket_dir
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].split(":")[0])  # systemd joins several with colons
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "asr-service"
    return Path(tempfile.gettempdir()) / f"asr-service-{os.geteuid()}"  # where every user may have one


def own_directory(directory: Path) -> None:
    """Make the directory where it is missing. Raises ConfigurationError: it cannot be made, or is another user's."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        _refuse_strangers(directory)
    except OSError as error:
        raise _directory_error(directory, error.strerror or str(error)) from error


def claim_directory(directory: Path) -> int:
    """Make the directory this service's own and remove the sockets that a killed one left.

    Returns the descriptor of the lock, held until it is closed and inherited by the workers. Raises
    ConfigurationError: it cannot be written, is another user's, or another service has it.
    """
    if len(os.fsencode(_unborn(socket_path(directory, _MOST_SLOTS)))) > _LONGEST_ADDRESS:
        raise _directory_error(directory, "a socket's path may have 107 bytes, and those here would have more")
    own_directory(directory)
    try:
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left_over in directory.glob("slot-*.sock*"):
            left_over.unlink()
    except BlockingIOError:
        raise _directory_error(directory, "another asr-service, or workers of one that still finish, use it") from None
    except OSError as error:
        raise _directory_error(directory, error.strerror or str(error)) from error
    return lock


def socket_path(directory: Path, slot: int) -> Path:
    return directory / f"slot-{slot}.sock"


def unix_listener(path: Path) -> socket.socket:
    """Listen at `path`, which appears only once a client that connects to it is accepted."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unborn = _unborn(path)
    unborn.unlink(missing_ok=True)
    listener.bind(str(unborn))
    unborn.chmod(_MODE)
    listener.listen(BACKLOG)
    unborn.rename(path)
    return listener


def _unborn(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _bind_error(host: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"port {port} of {host} is taken by {_holder(port)}; stop that, or set ASR_PORT to another port "
            "(0 takes a free one)",
            param="ASR_PORT",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        why = f"port {port} needs a privilege that this user lacks; set ASR_PORT to 1024 or more"
        return ConfigurationError(why, param="ASR_PORT")
    return ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}; set ASR_HOST", param="ASR_HOST")


def _holder(port: int) -> str:
    """Name the process that listens on the port; another user's is not shown by the system."""
    try:
        found = psutil.net_connections(kind="tcp")
        listening = (c for c in found if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port)
        pid = next((c.pid for c in listening if c.pid), None)
        return "another process, maybe another asr-service" if pid is None else _name(pid)
    except psutil.Error:
        return "another process, maybe another asr-service"


def _name(pid: int) -> str:
    process = psutil.Process(pid)
    return f"{' '.join(process.cmdline()[:4]) or process.name()} (pid {pid})"


def _refuse_strangers(directory: Path) -> None:
    """In a directory that all may write, another user could have put a link or a directory of that name."""
    found = directory.stat(follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is not a directory")
    shared = bool(directory.parent.stat().st_mode & stat.S_IWOTH)
    if shared and (stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid()):
        raise PermissionError(errno.EACCES, "it belongs to another user")


def _directory_error(directory: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the directory for sockets and metrics, {directory}, cannot be used: {why}; set ASR_SOCKET_DIR to one that "
        "this user may write and no other service uses",
        param="ASR_SOCKET_DIR",
    )
