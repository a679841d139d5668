"""systemd's units: the sandboxed service, the download of its model, the job worker, and the stop of Nginx."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asr_service.deployment.checks import require, require_path
from asr_service.deployment.files import RenderedFile, fill
from asr_service.deployment.site import RUN_DIRECTORY, Site
from asr_service.errors import ConfigurationError
from asr_service.settings import Settings, cache_directory

_WATCHDOG_S: Final = 30
_START_MARGIN_S: Final = 60
"""Time for the start of the processes, in addition to the load of the model."""

_TASKS: Final = 256
_TASKS_PER_SLOT: Final = 256
"""Threads and processes of one slot. With one core and under load, 10 threads and decoders were observed; both numbers
grow with the cores, and requests can add 40 threads."""

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
    """Render two units for one service, two templates for several services, a job worker, and their user.

    One more file changes how the unit of Nginx stops.

    Raises ConfigurationError: when an option is invalid, or a setting conflicts with what systemd sets.
    """
    _check(settings, options)
    site = Site.of(settings)
    common = {
        "o": options,
        "over_sockets": site.n_slots > 1,
        "loopback_only": _is_loopback(settings.host),
        "sends_webhooks": settings.webhook_secret is not None and settings.jobs_runner == "slots",
        "over_network": _settings_over_network(settings),
        "uses_gpu": _may_use_gpu(settings.devices),
        "on_cpu": _may_use_cpu(settings.devices),
        "model_dir": settings.model_dir,
        "written": list(_written(settings).values()),
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
    files_dir = _written(settings).get("ASR_JOBS_FILES")
    worker = fill("systemd-worker.j2", o=options, files_in_cloud=_is_url(settings.jobs_files), files_dir=files_dir)
    units.append(RenderedFile("asr-service-worker.service", worker))
    nginx = RenderedFile("nginx.service.d/asr-service.conf", fill("systemd-nginx.j2", stop_s=common["stop_s"]))
    return (*units, nginx, RenderedFile("asr-service.sysusers.conf", fill("systemd-sysusers.j2", o=options)))


def _may_use_gpu(devices: str) -> bool:
    return any(part.strip().lower() != "cpu" for part in devices.split(","))


def _may_use_cpu(devices: str) -> bool:
    return any(part.strip().lower() in ("cpu", "auto") for part in devices.split(","))


def _settings_over_network(settings: Settings) -> list[str]:
    """Return the settings that name a server which the service connects to by TCP."""
    places = {"ASR_JOBS_FILES": settings.jobs_files}
    for name, url in (("ASR_CACHE_URL", settings.cache_url), ("ASR_JOBS_URL", settings.jobs_url)):
        places[name] = None if url is None else url.get_secret_value()
    return [name for name, place in places.items() if _is_url(place)]


def _written(settings: Settings) -> dict[str, Path]:
    """Return the directories outside of those of the unit that the service writes to, by the names of the settings."""
    places = {
        "ASR_METRICS_DIR": settings.metrics_dir,
        "ASR_KEY_USAGE_DIR": settings.key_usage_dir,
        "ASR_STATE_DIR": settings.state_dir,
        "ASR_JOBS_FILES": None if _is_url(settings.jobs_files) else settings.jobs_files,
        "ASR_CACHE_URL": cache_directory(settings),
    }
    return {name: Path(place) for name, place in places.items() if place is not None}


def _is_url(place: str | None) -> bool:
    """Return whether a place is reached over the network: neither a directory nor a socket."""
    return place is not None and "://" in place and not place.startswith("unix:")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(seconds: float) -> str:
    return f"{seconds:g}"


def _check(settings: Settings, options: SystemdOptions) -> None:
    require_path(options.program, "--program")
    require(_USER, options.proxy_user, "--proxy-user", "a user name")
    if settings.socket_dir not in (None, RUN_DIRECTORY):
        raise ConfigurationError(
            f"ASR_SOCKET_DIR={settings.socket_dir} cannot be used: systemd creates {RUN_DIRECTORY}. Leave it unset.",
            param="ASR_SOCKET_DIR",
        )
    for name, path in [("ASR_MODEL_DIR", settings.model_dir), *_written(settings).items()]:
        if path is not None:
            require_path(path, name)
