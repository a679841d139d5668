"""Uvicorn's HTTP server as one slot needs it."""
