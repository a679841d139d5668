"""systemd's units: the service shut in, and beside it the one that fetches its model and has the network."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asr_service.deployment.files import RenderedFile, fill
from asr_service.deployment.site import RUN_DIRECTORY, Site
from asr_service.errors import ConfigurationError
from asr_service.settings import PREFIX, Settings

_WATCHDOG_S: Final = 30
_START_MARGIN_S: Final = 60
"""Past a model's load, for the start of the processes."""

_TASKS: Final = 256
_TASKS_A_SLOT: Final = 256
"""A slot with one core was seen with 10 threads and decoders under load; both grow with the cores, and requests may add
40 threads."""

_PATH: Final = re.compile(r"/[\w./@+-]+")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdOptions:
    """What the service's settings do not know."""

    program: Path = Path("/opt/asr-service/bin/asr-service")
    proxy_user: str = "www-data"
    """Who Nginx runs as: it joins the service's group, which may call the sockets."""


@dataclass(frozen=True, slots=True)
class _Instance:
    """Of one service, or of a template's each."""

    suffix: str
    """Of the units' names."""
    description: str
    environment_file: str
    run_directory: str
    """Below /run."""


_INSTANCES: Final = (
    _Instance("", "Speech to text", "/etc/asr-service/asr-service.env", RUN_DIRECTORY.name),
    _Instance("@", "Speech to text (%i)", "/etc/asr-service/%i.env", f"{RUN_DIRECTORY.name}-%i"),
)


def systemd_files(settings: Settings, options: SystemdOptions) -> tuple[RenderedFile, ...]:
    """Two units for one service, two templates for several, and their user.

    Raises ConfigurationError: an option would break out of its line, or a setting is systemd's to make.
    """
    _check(settings, options)
    site = Site.of(settings)
    common = {
        "o": options,
        "over_sockets": site.n_slots > 1,
        "loopback_only": _is_loopback(settings.host),
        "uses_gpu": _may_use_gpu(settings.devices),
        "on_cpu": _may_use_cpu(settings.devices),
        "model_dir": settings.model_dir,
        "written": [path for path in (settings.metrics_dir, settings.key_usage_dir) if path is not None],
        "start_s": _seconds(settings.model_load_timeout_s + _START_MARGIN_S),
        "stop_s": _seconds(site.timeouts.stop_s),
        "watchdog_s": _WATCHDOG_S,
        "tasks": _TASKS + _TASKS_A_SLOT * site.n_slots,
    }
    units = [
        RenderedFile(f"{name}{instance.suffix}.service", fill(template, i=instance, **common))
        for instance in _INSTANCES
        for name, template in (("asr-service", "systemd-service.j2"), ("asr-service-model", "systemd-model.j2"))
    ]
    return (*units, RenderedFile("asr-service.sysusers.conf", fill("systemd-sysusers.j2", o=options)))


def _may_use_gpu(devices: str) -> bool:
    return any(part.strip().lower() != "cpu" for part in devices.split(","))


def _may_use_cpu(devices: str) -> bool:
    return any(part.strip().lower() in ("cpu", "auto") for part in devices.split(","))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(seconds: float) -> str:
    return f"{seconds:g}"


def _check(settings: Settings, options: SystemdOptions) -> None:
    if not _PATH.fullmatch(str(options.program)):
        raise ConfigurationError(
            f"--program={str(options.program)!r} is not an absolute path without blanks", param="--program"
        )
    if not _USER.fullmatch(options.proxy_user):
        raise ConfigurationError(f"--proxy-user={options.proxy_user!r} is not a user's name", param="--proxy-user")
    if settings.socket_dir not in (None, RUN_DIRECTORY):
        raise ConfigurationError(
            f"ASR_SOCKET_DIR={settings.socket_dir}: systemd makes {RUN_DIRECTORY} itself; leave it unset",
            param="ASR_SOCKET_DIR",
        )
    for field in ("model_dir", "metrics_dir", "key_usage_dir"):
        path, name = getattr(settings, field), PREFIX + field.upper()
        if path is not None and not _PATH.fullmatch(str(path)):
            raise ConfigurationError(f"{name}={str(path)!r} is not an absolute path without blanks", param=name)
