"""Configuration files for Nginx and systemd, rendered from the settings, so that all of them agree."""

from asr_service.deployment.files import RenderedFile, write_files
from asr_service.deployment.nginx import NginxOptions, nginx_files
from asr_service.deployment.systemd import SystemdOptions, systemd_files

__all__ = ["NginxOptions", "RenderedFile", "SystemdOptions", "nginx_files", "systemd_files", "write_files"]
