"""Throughput and latency of the service, compared with faster-whisper behind FastAPI."""
