"""Benchmarks of the service. README.md lists the programs; each runs as `python -m benchmarks.NAME`."""
