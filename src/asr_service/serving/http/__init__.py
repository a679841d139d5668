"""Uvicorn's HTTP server, adapted to one slot."""
