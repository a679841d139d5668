"""The `asr-service` command."""

from asr_service.cli.main import main

__all__ = ["main"]
