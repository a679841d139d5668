"""ASGI middleware: authentication, body limits, CORS and the request log."""
