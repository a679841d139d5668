"""The `asr-service` command."""
