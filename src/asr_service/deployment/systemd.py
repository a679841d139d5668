"""systemd's units: the sandboxed service, and a second service that downloads its model and has network access."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asr_service.deployment.files import RenderedFile, fill
from asr_service.deployment.site import RUN_DIRECTORY, Site
from asr_service.errors import ConfigurationError
from asr_service.settings import PREFIX, Settings, cache_directory

_WATCHDOG_S: Final = 30
_START_MARGIN_S: Final = 60
"""Time for the start of the processes, in addition to the load of the model."""

_TASKS: Final = 256
_TASKS_PER_SLOT: Final = 256
"""Threads and processes of one slot. With one core and under load, 10 threads and decoders were observed; both numbers
grow with the cores, and requests can add 40 threads."""

_PATH: Final = re.compile(r"/[\w./@+-]+")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdOptions:
    """Options of the units that are not settings of the service."""

    program: Path = Path("/opt/asr-service/bin/asr-service")
    proxy_user: str = "www-data"
    """User that runs Nginx. It joins the group of the service, which can connect to the sockets."""


@dataclass(frozen=True, slots=True)
class _Instance:
    """The names of one service, or of each instance of a template."""

    suffix: str
    """Suffix of the units' names."""
    description: str
    environment_file: str
    directory: str
    """Name of its directories in /run and in /var/lib."""


_INSTANCES: Final = (
    _Instance("", "Speech to text", "/etc/asr-service/asr-service.env", RUN_DIRECTORY.name),
    _Instance("@", "Speech to text (%i)", "/etc/asr-service/%i.env", f"{RUN_DIRECTORY.name}-%i"),
)


def systemd_files(settings: Settings, options: SystemdOptions) -> tuple[RenderedFile, ...]:
    """Render two units for one service, two templates for several services, and their user.

    Raises ConfigurationError: when an option is invalid, or a setting conflicts with what systemd sets.
    """
    _check(settings, options)
    site = Site.of(settings)
    common = {
        "o": options,
        "over_sockets": site.n_slots > 1,
        "loopback_only": _is_loopback(settings.host),
        "sends_webhooks": settings.webhook_secret is not None,
        "over_network": _settings_over_network(settings),
        "uses_gpu": _may_use_gpu(settings.devices),
        "on_cpu": _may_use_cpu(settings.devices),
        "model_dir": settings.model_dir,
        "written": [
            path
            for path in (settings.metrics_dir, settings.key_usage_dir, settings.state_dir, cache_directory(settings))
            if path is not None
        ],
        "start_s": _seconds(settings.model_load_timeout_s + _START_MARGIN_S),
        "stop_s": _seconds(site.timeouts.stop_s),
        "watchdog_s": _WATCHDOG_S,
        "tasks": _TASKS + _TASKS_PER_SLOT * site.n_slots,
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


def _settings_over_network(settings: Settings) -> list[str]:
    """Return the settings that name a server which the service connects to by TCP."""
    urls = {"ASR_CACHE_URL": settings.cache_url, "ASR_JOBS_URL": settings.jobs_url}
    return [name for name, url in urls.items() if url and url.get_secret_value().startswith(("redis://", "rediss://"))]


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
            f"--program={str(options.program)!r} is not an absolute path without spaces.", param="--program"
        )
    if not _USER.fullmatch(options.proxy_user):
        raise ConfigurationError(f"--proxy-user={options.proxy_user!r} is not a user name.", param="--proxy-user")
    if settings.socket_dir not in (None, RUN_DIRECTORY):
        raise ConfigurationError(
            f"ASR_SOCKET_DIR={settings.socket_dir} cannot be used: systemd creates {RUN_DIRECTORY}. Leave it unset.",
            param="ASR_SOCKET_DIR",
        )
    paths = {field: getattr(settings, field) for field in ("model_dir", "metrics_dir", "key_usage_dir", "state_dir")}
    for field, path in (paths | {"cache_url": cache_directory(settings)}).items():
        name = PREFIX + field.upper()
        if path is not None and not _PATH.fullmatch(str(path)):
            raise ConfigurationError(f"{name}={str(path)!r} is not an absolute path without spaces.", param=name)
