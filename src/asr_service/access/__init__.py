"""API keys, callers, their limits and their usage."""
