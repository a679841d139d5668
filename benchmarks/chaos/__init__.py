"""The service under injected faults."""
