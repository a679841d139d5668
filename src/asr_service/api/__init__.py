"""The HTTP API. No other package imports the web framework."""
